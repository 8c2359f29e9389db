//! Port exhaustion: the owners whose request failed because no port was free.
//!
//! The stack reports it (1006, 1050, 1394). AFD reports it again, with the status that the program got
//! (1029, 1030, 1018, 1021). Each attempt is emitted once.

use super::pending_requests::Request;
use super::ports::{Claim, Trust};
use super::{Context, Model, pool};
use crate::event::{EventKind, Failed, FailureCode, Protocol};
use crate::source::windows::decoded_event::{Afd, AfdAction, Connection, Endpoint};
use rustc_hash::FxHashSet;
use std::net::{IpAddr, SocketAddr};

/// `STATUS_TOO_MANY_ADDRESSES` (ntstatus.h), WSAENOBUFS in the program. That a given port is in use
/// (0xC000020A, 0xC0000043) is another error.
const TOO_MANY_ADDRESSES: u32 = 0xc000_0209;

/// A bound against hostile traces: no machine has as many sockets at once.
const DATAGRAMS_MAX: usize = 1 << 20;

/// The UDP sockets by AFD's pointers. Only their creation shows the protocol, their requests do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Datagrams(FxHashSet<u64>);

impl Datagrams {
    /// A socket is created, closed, or used.
    pub(super) fn observe(&mut self, afd: &Afd) {
        match (afd.action, afd.protocol) {
            (AfdAction::Create, Some(Protocol::Udp)) => {
                if self.0.len() >= DATAGRAMS_MAX {
                    // Earlier sockets count as TCP from now on.
                    self.0.clear();
                }
                self.0.insert(afd.endpoint);
            }
            (AfdAction::Create | AfdAction::Close, _) => _ = self.0.remove(&afd.endpoint),
            _ => {}
        }
    }

    /// The protocol of a socket. Most are TCP.
    fn protocol(&self, endpoint: u64) -> Protocol {
        if self.0.contains(&endpoint) { Protocol::Udp } else { Protocol::Tcp }
    }
}

impl Model {
    /// 1006, 1394.
    pub(super) fn refuse_bind(
        &mut self,
        protocol: Protocol,
        refused: &Endpoint,
        context: &mut Context<'_, '_>,
    ) {
        if refused.status != TOO_MANY_ADDRESSES {
            return;
        }
        let claim = match refused.endpoint {
            Some(endpoint) => self.claim_of(endpoint, context),
            None => {
                let module = self.module_of(context.record);
                self.claim_of_thread(module, context)
            }
        };
        let remote =
            self.pending_requests.get(context.record.tid, context.out.at_ns).and_then(Request::remote);
        self.refuse(claim, protocol, refused.local.map(|local| local.ip()), remote, context);
    }

    /// 1050.
    pub(super) fn refuse_connect(&mut self, refused: &Connection, context: &mut Context<'_, '_>) {
        if refused.status != TOO_MANY_ADDRESSES {
            return;
        }
        let claim = match refused.pid {
            0 => {
                let module = self.module_of(context.record);
                self.claim_of_thread(module, context)
            }
            pid => self.named(pid, refused.start_key, Trust::Field, None, &mut context.out),
        };
        self.refuse(claim, Protocol::Tcp, refused.local.map(|local| local.ip()), refused.remote, context);
    }

    /// 1029, 1030, 1018, 1021: a request ends.
    pub(super) fn refuse_request(&mut self, afd: &Afd, request: &Request, context: &mut Context<'_, '_>) {
        let asks = matches!(afd.action, AfdAction::Bind | AfdAction::Connect);
        if !asks || afd.status != TOO_MANY_ADDRESSES || request.refused {
            return;
        }
        let claim = match self.processes.pid_of(afd.process) {
            Some(pid) => self.named(pid, None, Trust::Object, None, &mut context.out),
            None => self.claim_of_thread(None, context),
        };
        let local = request.local().map(|local| local.ip());
        self.refuse(claim, self.datagrams.protocol(afd.endpoint), local, request.remote(), context);
    }

    fn refuse(
        &mut self,
        claim: Claim,
        protocol: Protocol,
        local: Option<IpAddr>,
        remote: Option<SocketAddr>,
        context: &mut Context<'_, '_>,
    ) {
        if let Some(request) = self.pending_requests.get_mut(context.record.tid, context.out.at_ns) {
            if request.refused {
                return;
            }
            request.refused = true;
        }
        context.out.push(EventKind::Failed(Failed {
            owner: claim.owner,
            pool: pool(protocol),
            code: FailureCode::WSAENOBUFS,
            local,
            remote,
            retracts: None,
        }));
    }
}

//! The pending AFD request of each thread: the stack's events lie between AFD's, on the same thread.

use crate::source::windows::decoded_event::{Afd, AfdAction};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// A bound: no machine has as many threads in a request. Beyond it all are dropped, which costs details.
const THREADS_MAX: usize = 1 << 16;

/// No request takes longer: AFD returns at once with a pending status. The end of a longer one was lost.
const REQUEST_NS: u64 = 10_000_000_000;

/// A thread's request to AFD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// The process object of the kernel.
    pub(super) process: u64,
    since_ns: u64,
    /// It binds, to this address.
    bind: Option<Option<SocketAddr>>,
    /// It connects, to this address.
    connect: Option<Option<SocketAddr>>,
    /// Its failure has been emitted.
    pub(super) refused: bool,
}

impl Request {
    fn is_lost(&self, at_ns: u64) -> bool {
        self.since_ns.saturating_add(REQUEST_NS) < at_ns
    }

    /// The requested local address.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.bind.flatten()
    }

    /// The requested destination.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.connect.flatten()
    }
}

/// The requests, by thread.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingRequests(FxHashMap<u32, Request>);

impl PendingRequests {
    /// A request begins.
    pub(super) fn enter(&mut self, tid: u32, afd: &Afd, at_ns: u64) {
        if self.0.len() >= THREADS_MAX {
            self.0.clear();
        }
        let request = self.0.entry(tid).or_default();
        if request.process != afd.process || request.is_lost(at_ns) {
            *request = Request { process: afd.process, since_ns: at_ns, ..Request::default() };
        }
        match afd.action {
            AfdAction::Bind => {
                // A bind outside a connect is an attempt of its own.
                request.refused &= request.connect.is_some();
                request.bind = Some(afd.address);
            }
            AfdAction::Connect => {
                *request = Request { since_ns: at_ns, connect: Some(afd.address), ..*request };
                (request.bind, request.refused) = (None, false);
            }
            _ => {}
        }
    }

    /// A request ends. Returns its state before.
    pub(super) fn leave(&mut self, tid: u32, afd: &Afd) -> Request {
        let Some(request) = self.0.get_mut(&tid) else {
            return Request { process: afd.process, ..Request::default() };
        };
        let before = *request;
        match afd.action {
            AfdAction::Bind => request.bind = None,
            _ => *request = Request::default(),
        }
        if request.connect.is_none() && request.bind.is_none() {
            self.0.remove(&tid);
        }
        before
    }

    pub(super) fn get(&self, tid: Option<u32>, at_ns: u64) -> Option<&Request> {
        self.0.get(&tid?).filter(|request| !request.is_lost(at_ns))
    }

    pub(super) fn get_mut(&mut self, tid: Option<u32>, at_ns: u64) -> Option<&mut Request> {
        self.0.get_mut(&tid?).filter(|request| !request.is_lost(at_ns))
    }
}

//! The index of a trace: what it contains, collected in the first reading.

use super::{Header, Integrity};
use crate::event::{Capture, Degradation, Hook};
use crate::source::SourceError;
use crate::source::windows::capture::{capture, without_udp};
use crate::source::windows::decoded_event::{self, DecodedEvent, Process, ProcessLife, Service, Tcpip};
use crate::source::windows::guid;
use crate::source::windows::model::{Background, DEFAULT_RANGE, Votes};
use crate::source::windows::record::Record;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// Records the events that portleak uses: the stack's events about ports, the socket layer's requests, and
/// the processes.
pub const RECORD_COMMAND: &str = "netsh trace start tracefile=ports.etl report=disabled maxsize=2048 \
     provider=Microsoft-Windows-TCPIP keywords=0x8400000400 level=4 \
     provider=Microsoft-Windows-Winsock-AFD keywords=0x4 level=4 \
     provider=Microsoft-Windows-Kernel-Process keywords=0x10 level=4 (end it with: netsh trace stop)";
/// A bound: no machine has as many processes and services.
const ENTRIES_MAX: usize = 1 << 18;

/// The collected facts.
#[derive(Debug, Default)]
pub(super) struct TraceIndex {
    background: Background,
    votes: Votes,
    listed: FxHashSet<u32>,
    tcpip: u64,
    afd: u64,
    processes: u64,
    traffic: u64,
    rundown: u64,
    stacks: u64,
    images: u64,
    schemas: u64,
}

impl TraceIndex {
    /// Adds a record.
    pub(super) fn observe(&mut self, record: &Record<'_>) {
        match record.provider {
            guid::TCPIP => self.tcpip += 1,
            guid::AFD => self.afd += 1,
            guid::EMBEDDED_SCHEMA => self.schemas += 1,
            _ => {}
        }
        let Some(Ok(event)) = decoded_event::decode(record) else {
            return;
        };
        self.votes.observe(record.tid, &event);
        match event {
            DecodedEvent::Process(process) => self.add_process(process),
            DecodedEvent::Service(service) => self.add_service(service),
            DecodedEvent::Image(image) => {
                self.images += 1;
                self.background.drivers.insert(&image);
            }
            DecodedEvent::Traffic(_) => self.traffic += 1,
            DecodedEvent::Tcpip(Tcpip::Created(..)) => {
                self.stacks += u64::from(record.stack().next().is_some());
            }
            DecodedEvent::Tcpip(Tcpip::Exists(..)) => self.rundown += 1,
            _ => {}
        }
    }

    /// A listed process was there before the trace, unless its start is in the trace too.
    fn add_process(&mut self, process: Process) {
        self.processes += 1;
        match process.life {
            ProcessLife::Started => {
                self.listed.insert(process.pid);
            }
            ProcessLife::Exists
                if self.background.processes.len() < ENTRIES_MAX && self.listed.insert(process.pid) =>
            {
                self.background.processes.push(process);
            }
            ProcessLife::Exists | ProcessLife::Ended => {}
        }
    }

    fn add_service(&mut self, service: Service) {
        if service.pid != 0 && self.background.services.len() < ENTRIES_MAX {
            self.background.services.push(service);
        }
    }

    /// The background and capture facts of the trace.
    ///
    /// # Errors
    /// When the trace has no events about ports.
    pub(super) fn finish(
        mut self,
        name: &str,
        header: &Header,
        integrity: Integrity,
    ) -> Result<(Background, Capture), SourceError> {
        if self.tcpip == 0 && self.traffic == 0 {
            return Err(SourceError {
                what: format!("{name} has no events about ports: Microsoft-Windows-TCPIP is not in it"),
                remedy: format!("record with: {RECORD_COMMAND}"),
            });
        }
        self.background.has_tcpip = self.tcpip > 0;
        self.background.port_byte_order = self.votes.order();
        let degraded = self.degraded(header, integrity);
        let capture = capture(header, self.hooks(), degraded, &BTreeMap::new());
        Ok((self.background, capture))
    }

    fn hooks(&self) -> Vec<Hook> {
        let hook = |name: &str, seen: u64| {
            let off_because = (seen == 0).then(|| "none of its events is in the trace".to_owned());
            Hook { name: name.to_owned(), off_because }
        };
        let mut hooks = vec![
            hook("Microsoft-Windows-TCPIP", self.tcpip),
            hook("Microsoft-Windows-Winsock-AFD", self.afd),
            hook("processes", self.processes),
        ];
        if self.tcpip == 0 {
            hooks.push(hook("NT Kernel Logger: TcpIp", self.traffic));
        }
        hooks
    }

    fn degraded(&self, header: &Header, integrity: Integrity) -> Vec<Degradation> {
        let record = || format!("record with: {RECORD_COMMAND}");
        let udp = without_udp(header, "record on Windows 10 1607, Server 2016 or later");
        let mut degraded: Vec<_> = udp.into_iter().filter(|_| self.tcpip > 0).collect();
        let mut limit = |feature: &str, why: String, remedy: String| {
            degraded.push(Degradation { feature: feature.to_owned(), why, remedy });
        };
        if self.tcpip == 0 {
            let why = "the trace has only the kernel logger's traffic: it shows no bound ports without \
                       traffic, no UDP ports and no port exhaustion";
            limit("ports", why.to_owned(), record());
        } else {
            if self.afd == 0 {
                let why = "Microsoft-Windows-Winsock-AFD is not in the trace";
                limit("owners of sockets from before the trace", why.to_owned(), record());
            }
            if self.rundown == 0 {
                let why = "the trace does not list the connections that were open when it began";
                limit(
                    "ports held before the trace",
                    why.to_owned(),
                    "begin the trace before the program".to_owned(),
                );
            }
            if self.stacks == 0 || self.images == 0 {
                let why = "the trace has no stacks of socket creation, or no list of drivers";
                let remedy =
                    "record with wpr and a profile that has Stack=\"true\" for Microsoft-Windows-TCPIP";
                limit("System's ports by driver", why.to_owned(), remedy.to_owned());
            }
        }
        if self.processes == 0 {
            let why = "the trace has neither process starts nor a list of processes";
            limit("names of processes", why.to_owned(), record());
        }
        let range = DEFAULT_RANGE;
        let why =
            format!("a trace does not contain it; Windows' default {}-{} is assumed", range.low, range.high);
        let remedy = "compare with: netsh int ipv4 show dynamicport tcp";
        limit("the range of ephemeral ports", why, remedy.to_owned());
        if let Some(why) = integrity.damage() {
            limit("the file", why, "end the recording before copying it, and copy it again".to_owned());
        }
        degraded
    }
}

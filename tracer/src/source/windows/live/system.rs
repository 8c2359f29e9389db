//! Windows itself beneath a [`Feed`]: a session, and what Windows lists.

use super::capture::{Findings, capture};
use super::feed::{Feed, Losses, Start, System};
use super::machine;
use super::session::{Session, SessionOptions};
use super::teller::Listing;
use crate::source::windows::etl::{Header, UNIX_EPOCH};
use crate::source::windows::fact::Image;
use crate::source::windows::listing::Row;
use crate::source::windows::model::{Background, Drivers, PortOrder};
use crate::source::windows::record::Record;
use crate::source::{CaptureOptions, SourceError};
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Instant, SystemTime};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

/// How many sockets are bound to show how a port is written: of a few ports both bytes are the same.
const PROBES: usize = 4;

/// Windows, live.
pub type Live = Feed<Windows>;

/// Windows.
#[derive(Debug)]
pub struct Windows {
    session: Session,
    /// An instant, on the clock of which records have their times as well (QPC), and when it was.
    began: Instant,
    began_ns: u64,
}

impl Live {
    /// Begins a session, then looks at what is held already.
    ///
    /// # Errors
    /// When this machine, or this user, cannot trace.
    pub fn open(options: &CaptureOptions) -> Result<Self, SourceError> {
        let CaptureOptions { buffer_bytes, stacks } = *options;
        let may_debug = machine::enable_debug_privilege();
        let session = Session::open(&SessionOptions { buffer_bytes, stacks, file: None })?;
        let (began, now) = (Instant::now(), filetime(SystemTime::now()));
        let (major, minor, build) = machine::version();
        let version = [major, minor].map(|part| u8::try_from(part).unwrap_or(u8::MAX)).into();
        let header = Header::of_session(version, build, buffer_bytes, machine::boot_filetime(), now);
        let mut system = Windows { session, began, began_ns: header.start_ns() };
        let prober = probe().then(current_thread);
        let drivers = system.drivers().unwrap_or_default();
        let drivers_known = may_debug && drivers != Drivers::default();
        let ranges = machine::ranges();
        let background = Background {
            order: PortOrder::default(),
            drivers,
            processes: machine::processes(),
            services: machine::services(),
            has_tcpip: true,
            ranges: ranges.pools.clone(),
        };
        let at_ns = system.now_ns();
        let (listing, sockets_unknown) = match system.sockets() {
            Ok(rows) => (Some(Listing { at_ns, done_ns: system.now_ns(), rows }), None),
            Err(error) => (None, Some(error.what)),
        };
        if let Err(number) = system.session.capture_state() {
            log::debug!("the connections that are there are not told (error {number})");
        }
        system.flush();
        let findings = Findings {
            stacks,
            stacks_refused: system.session.stacks_refused(),
            drivers_known,
            sockets_unknown,
            ranges: ranges.pools,
            ranges_unknown: ranges.unknown,
        };
        let capture = capture(&header, findings);
        let room = usize::try_from(buffer_bytes).unwrap_or(usize::MAX).max(1 << 20);
        Ok(Self::new(system, Start { header, background, capture, listing, prober, room }))
    }
}

impl System for Windows {
    fn take(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError> {
        self.session.take(visit)
    }

    async fn ready(&mut self) {
        self.session.ready().await;
    }

    fn now_ns(&self) -> u64 {
        let since = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.began_ns.saturating_add(since)
    }

    fn losses(&mut self) -> Losses {
        self.session.lost()
    }

    fn flush(&mut self) {
        self.session.flush();
    }

    fn sockets(&mut self) -> Result<Vec<Row>, SourceError> {
        machine::sockets()
    }

    fn drivers(&mut self) -> Result<Drivers, SourceError> {
        let mut drivers = Drivers::default();
        let images: Vec<Image> = machine::drivers()?;
        images.iter().for_each(|image| drivers.learn(image));
        Ok(drivers)
    }

    fn stop(&mut self) {
        self.session.stop();
    }
}

/// Binds a few sockets, whose events show in which order the bytes of a port are written. True if it could.
fn probe() -> bool {
    let bind = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        Ok(socket)
    };
    // All at once, so that their ports differ.
    let sockets: Vec<Socket> = (0..PROBES).filter_map(|_| bind().ok()).collect();
    !sockets.is_empty()
}

fn current_thread() -> u32 {
    // SAFETY: it takes and changes nothing.
    unsafe { GetCurrentThreadId() }
}

/// A time as Windows has it.
fn filetime(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() / 100;
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(UNIX_EPOCH)
}

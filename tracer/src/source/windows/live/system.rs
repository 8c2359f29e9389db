//! Windows itself beneath a [`SessionSource`]: a session, and what Windows lists.

use super::capture::{Findings, capture};
use super::live_source::{Losses, SessionSource, Settings, Start, System};
use super::sequencer::SocketList;
use super::session::{Session, SessionOptions};
use crate::event::Degradation;
use crate::source::windows::etl::Header;
use crate::source::windows::inventory::Row;
use crate::source::windows::model::{Background, Drivers, PortByteOrder};
use crate::source::windows::record::Record;
use crate::source::windows::win32::{self, Sockets};
use crate::source::{CaptureOptions, SourceError, Stacks};
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

/// How many sockets are bound to show how a port is written: of a few ports both bytes are the same.
const PROBES: usize = 4;

/// Windows, live.
pub type Live = SessionSource<Windows>;

/// Windows.
#[derive(Debug)]
pub struct Windows {
    session: Session,
    /// An instant, on the clock of which records have their times as well (QPC), and when it was.
    began: Instant,
    began_ns: u64,
    /// Where the settings come that were asked for.
    settings: Option<Receiver<Settings>>,
}

impl Live {
    /// Begins a session, then looks at what is held already.
    ///
    /// # Errors
    /// When this machine, or this user, cannot trace.
    pub fn open(options: &CaptureOptions) -> Result<Self, SourceError> {
        let CaptureOptions { buffer_bytes, stacks } = *options;
        // Without it, the drivers' addresses are withheld: their list says so.
        win32::enable_debug_privilege();
        let session = Session::open(&SessionOptions { buffer_bytes, stacks, legacy: false, file: None })?;
        let (began, now) = (Instant::now(), win32::now_filetime());
        let header = Header::of_session(win32::version(), buffer_bytes, win32::boot_filetime(), now);
        let mut system = Windows { session, began, began_ns: header.start_ns(), settings: None };
        let prober = probe().then(current_thread);
        let stacks_refused = system.session.stacks_refused();
        let (background, list, degraded) = system.look_around(stacks);
        if let Err(number) = system.session.capture_state() {
            log::debug!("the connections that are there are not told (error {number})");
        }
        system.flush();
        let pools = background.ranges.clone();
        let capture = capture(&header, Findings { stacks, stacks_refused, pools, degraded });
        let room = usize::try_from(buffer_bytes).unwrap_or(usize::MAX).max(1 << 20);
        Ok(Self::new(system, Start { header, background, capture, list, prober, room }))
    }
}

impl Windows {
    /// Has Windows list all that is there.
    fn look_around(&mut self, stacks: Stacks) -> (Background, Option<SocketList>, Vec<Degradation>) {
        // It starts other programs, which takes its time.
        let ranges = thread::spawn(win32::ranges);
        let mut degraded = Vec::new();
        let (processes, services) = win32::processes_and_services(&mut degraded);
        let mut or_told = |feature: &str, error: SourceError| {
            let (why, remedy) = (error.what, error.remedy);
            degraded.push(Degradation { feature: feature.to_owned(), why, remedy });
        };
        let drivers = self.drivers().map_err(|error| {
            if stacks != Stacks::None {
                or_told("System's ports by driver", error);
            }
        });
        let at_ns = self.now_ns();
        let listed = win32::sockets().map_err(|error| or_told("ports held before the trace", error));
        let list = listed.ok().map(|Sockets { rows, degraded: more }| {
            degraded.extend(more);
            SocketList { at_ns, done_ns: self.now_ns(), rows }
        });
        let ranges = ranges.join().unwrap_or_default();
        degraded.extend(ranges.unknown);
        let background = Background {
            port_byte_order: PortByteOrder::default(),
            drivers: drivers.unwrap_or_default(),
            processes,
            services,
            has_tcpip: true,
            ranges: ranges.pools,
        };
        (background, list, degraded)
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
        win32::sockets().map(|sockets| sockets.rows)
    }

    fn drivers(&mut self) -> Result<Drivers, SourceError> {
        let mut drivers = Drivers::default();
        win32::drivers()?.iter().for_each(|image| drivers.insert(image));
        Ok(drivers)
    }

    fn ask_settings(&mut self) {
        let (say, settings) = mpsc::channel();
        self.settings = Some(settings);
        // It starts other programs, which takes its time. Nobody listens when tracing has ended.
        thread::spawn(move || {
            let services = win32::services().inspect_err(|error| log::debug!("{error}")).ok();
            say.send(Settings { services, ranges: win32::ranges().pools })
        });
    }

    fn take_settings(&mut self) -> Option<Settings> {
        let settings = self.settings.as_ref()?.try_recv().ok()?;
        self.settings = None;
        Some(settings)
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

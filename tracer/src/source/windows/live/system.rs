//! The real Windows beneath a [`SessionSource`]: a session, and workers for everything else.

use super::capture::{Findings, capture};
use super::control;
use super::inquiry::{Answer, Inquiry, Settings, SocketList};
use super::live_source::{SessionSource, Start, System};
use super::session::{Session, SessionOptions};
use crate::event::Degradation;
use crate::source::windows::etl::Header;
use crate::source::windows::inventory::ranges::Ranges;
use crate::source::windows::model::{Background, DEFAULT_RANGE, Drivers, PortByteOrder};
use crate::source::windows::record::Record;
use crate::source::windows::win32::{self, Sockets};
use crate::source::worker::{Limits, Outcome, Worker};
use crate::source::{CaptureOptions, SourceError, Stacks};
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

/// How many sockets are bound to show the byte order of ports: the two bytes of a port may be equal.
const PROBES: usize = 4;
/// How long the start waits for the port ranges. A later answer still sets them.
const RANGES_MAX: Duration = Duration::from_secs(2);
/// The limits of the worker that lists: these are calls of Windows.
const LIST_LIMITS: Limits = Limits { queue_max: 8, deadline_ns: 5_000_000_000 };
/// The limits of the worker that reads the settings: it starts programs, which have 10 s.
const SETTINGS_LIMITS: Limits = Limits { queue_max: 1, deadline_ns: 15_000_000_000 };

/// The live source of Windows.
pub type Live = SessionSource<Windows>;

/// A worker for inquiries.
type Inquiries = Worker<Inquiry, Result<Answer, SourceError>>;

/// Windows.
#[derive(Debug)]
pub struct Windows {
    session: Session,
    clock: SessionClock,
    lists: Inquiries,
    settings: Inquiries,
}

/// The session's clock: the performance counter, as nanoseconds since boot.
#[derive(Clone, Copy, Debug)]
struct SessionClock {
    began: Instant,
    began_ns: u64,
}

impl SessionClock {
    fn now_ns(self) -> u64 {
        let since = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.began_ns.saturating_add(since)
    }
}

impl Live {
    /// Begins a session, then lists what is there already.
    ///
    /// # Errors
    /// When this machine, or this user, cannot trace.
    pub fn open(options: &CaptureOptions) -> Result<Self, SourceError> {
        let CaptureOptions { buffer_bytes, stacks } = *options;
        // Without this privilege Windows lists the drivers without their addresses.
        win32::enable_debug_privilege();
        let session = Session::open(&SessionOptions { buffer_bytes, stacks, legacy: false, file: None })?;
        let (began, now) = (Instant::now(), win32::now_filetime());
        let header = Header::of_session(win32::version(), buffer_bytes, win32::boot_filetime(), now);
        let mut system = Windows {
            session,
            clock: SessionClock { began, began_ns: header.start_ns() },
            lists: Worker::new("portleak-lists", LIST_LIMITS),
            settings: Worker::new("portleak-settings", SETTINGS_LIMITS),
        };
        let prober = probe().then(current_thread);
        let stacks_refused = system.session.stacks_refused();
        let (background, list, degraded) = system.list_all(stacks);
        if let Err(number) = system.session.capture_state() {
            log::debug!("Windows does not report the open connections (error {number})");
        }
        system.session.flush();
        let pools = background.ranges.clone();
        let capture = capture(&header, Findings { stacks, stacks_refused, pools, degraded });
        let room = usize::try_from(buffer_bytes).unwrap_or(usize::MAX).max(1 << 20);
        Ok(Self::new(system, Start { header, background, capture, list, prober, room }))
    }
}

impl Windows {
    /// Lists processes, services, drivers, sockets and port ranges at the start.
    fn list_all(&mut self, stacks: Stacks) -> (Background, Option<SocketList>, Vec<Degradation>) {
        self.request(Inquiry::Settings);
        let mut degraded = Vec::new();
        let (processes, services) = win32::processes_and_services(&mut degraded);
        let mut limit = |feature: &str, error: SourceError| {
            let (why, remedy) = (error.what, error.remedy);
            degraded.push(Degradation { feature: feature.to_owned(), why, remedy });
        };
        let drivers = drivers().map_err(|error| {
            if stacks != Stacks::None {
                limit("System's ports by driver", error);
            }
        });
        let at_ns = self.now_ns();
        let listed = win32::sockets().map_err(|error| limit("ports held before the trace", error));
        let list = listed.ok().map(|Sockets { rows, degraded: more }| {
            degraded.extend(more);
            SocketList { at_ns, done_ns: self.now_ns(), rows }
        });
        let ranges = self.first_ranges();
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

    /// The port ranges, if their inquiry ends in time.
    fn first_ranges(&mut self) -> Ranges {
        self.settings.wait(RANGES_MAX);
        match self.settings.poll(self.clock.now_ns()) {
            Some(Outcome::Done(_, Ok(Answer::Settings(settings)))) => settings.ranges,
            _ => Ranges { unknown: vec![late_ranges()], ..Ranges::default() },
        }
    }
}

/// The default ranges are used until netsh answers.
fn late_ranges() -> Degradation {
    let (low, high) = (DEFAULT_RANGE.low, DEFAULT_RANGE.high);
    Degradation {
        feature: "the port ranges".to_owned(),
        why: format!(
            "netsh has not answered within {} s; Windows' default {low}-{high} is assumed until it does",
            RANGES_MAX.as_secs()
        ),
        remedy: "compare with: netsh int ipv4 show dynamicport tcp".to_owned(),
    }
}

impl System for Windows {
    fn read(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError> {
        self.session.read(visit)
    }

    async fn ready(&mut self) {
        self.session.ready().await;
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn dropped(&self) -> u64 {
        self.session.dropped()
    }

    fn request(&mut self, inquiry: Inquiry) -> bool {
        let (clock, session) = (self.clock, self.session.name().to_owned());
        let submitted = match inquiry {
            Inquiry::Losses => self.lists.submit(inquiry, move || {
                let status = control::query(&session).ok();
                Ok(Answer::Losses(status.map(|status| status.lost())))
            }),
            Inquiry::Sockets => self.lists.submit(inquiry, move || list_sockets(clock, &session)),
            Inquiry::Drivers => self.lists.submit(inquiry, || drivers().map(Answer::Drivers)),
            Inquiry::Settings => self.settings.submit(inquiry, || Ok(Answer::Settings(settings()))),
        };
        submitted.is_ok()
    }

    fn poll(&mut self, now_ns: u64) -> Option<Result<Answer, SourceError>> {
        let outcome = self.lists.poll(now_ns).or_else(|| self.settings.poll(now_ns))?;
        Some(match outcome {
            Outcome::Done(_, answer) => answer,
            Outcome::Missed(inquiry) => Err(SourceError {
                what: format!("Windows has not answered in time when asked for {inquiry}"),
                remedy: "restart Windows if netsh or netstat hang as well".to_owned(),
            }),
        })
    }

    fn wait(&mut self, timeout: Duration) {
        self.lists.wait(timeout);
    }

    fn stop(&mut self) -> Option<u64> {
        self.session.stop();
        self.session.final_losses()
    }
}

fn list_sockets(clock: SessionClock, session: &str) -> Result<Answer, SourceError> {
    let at_ns = clock.now_ns();
    let Sockets { rows, .. } = win32::sockets()?;
    let list = SocketList { at_ns, done_ns: clock.now_ns(), rows };
    // The list is compared with the records from before its end, which must arrive for that.
    if let Err(number) = control::flush(session) {
        log::debug!("the trace session cannot be flushed (error {number})");
    }
    Ok(Answer::Sockets(list))
}

fn drivers() -> Result<Drivers, SourceError> {
    let mut drivers = Drivers::default();
    win32::drivers()?.iter().for_each(|image| drivers.insert(image));
    Ok(drivers)
}

fn settings() -> Settings {
    let services = win32::services().inspect_err(|error| log::debug!("{error}")).ok();
    Settings { services, ranges: win32::ranges() }
}

/// Binds a few sockets, whose events show the byte order of ports. True if any could be bound.
fn probe() -> bool {
    let bind = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        Ok(socket)
    };
    // All are open at once, so that their ports differ.
    let sockets: Vec<Socket> = (0..PROBES).filter_map(|_| bind().ok()).collect();
    !sockets.is_empty()
}

fn current_thread() -> u32 {
    // SAFETY: it takes no arguments and changes nothing.
    unsafe { GetCurrentThreadId() }
}

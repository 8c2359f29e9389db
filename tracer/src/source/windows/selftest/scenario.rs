//! The scenario: our own sockets on loopback, through every operation that acquires a port.

use super::{CapturedEvents, Operation, Scenario, Step, answers};
use crate::event::Answer;
use crate::source::windows::live::session::{Session, SessionOptions};
use crate::source::{SourceError, Stacks};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the common operations are repeated.
const TIMES: usize = 8;
/// The shortest time to capture: the session delivers its buffers each second.
const CAPTURE_MIN: Duration = Duration::from_secs(4);
/// How often the session is flushed and drained.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// The size of the session's buffers: enough for a busy machine.
const BUFFER_BYTES: u32 = 16 << 20;
/// A share that does not exist: opening it makes the kernel's SMB client connect.
const NO_SHARE: &str = r"\\127.0.0.1\portleak-self-test";

/// Runs the scenario and returns the answers. The events are also written to an event trace in `save`.
/// Waits at most `patience` for a TIME_WAIT to end.
///
/// # Errors
/// When the session cannot start, or the scenario's sockets cannot be created.
pub fn run(save: Option<&Path>, patience: Duration) -> Result<Vec<Answer>, SourceError> {
    let options = SessionOptions {
        buffer_bytes: BUFFER_BYTES,
        stacks: Stacks::All,
        legacy: true,
        file: save.map(Path::to_owned),
    };
    let mut session = Session::open(&options)?;
    let mut captured = CapturedEvents::default();
    let steps = run_steps().map_err(|error| failure(&error))?;
    let began = Instant::now();
    // An error is an answer too: no connection will be listed.
    let _ = session.capture_state();
    let mut scenario = Scenario { pid: std::process::id(), steps, captured_s: 0 };
    loop {
        sleep(POLL_EVERY);
        session.flush();
        session.read(|record| captured.observe(record))?;
        scenario.captured_s = began.elapsed().as_secs();
        let waits = captured.is_waiting_for(&scenario) && began.elapsed() < patience;
        if began.elapsed() >= CAPTURE_MIN && !waits {
            break;
        }
    }
    session.stop();
    session.read(|record| captured.observe(record))?;
    Ok(answers(&captured, &scenario))
}

fn failure(error: &io::Error) -> SourceError {
    SourceError {
        what: format!("the self-test cannot create its sockets on 127.0.0.1: {error}"),
        remedy: "look the error up with portleak explain; run the self-test while ports are free".to_owned(),
    }
}

fn run_steps() -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for _ in 0..TIMES {
        steps.push(bound()?);
        steps.push(connected()?);
        steps.push(bound_connected()?);
        steps.push(bound_udp()?);
        steps.push(sent_udp()?);
    }
    steps.extend(refused()?);
    steps.push(in_use()?);
    // The attempt alone makes the kernel connect; its result does not matter.
    let _ = std::fs::metadata(NO_SHARE);
    Ok(steps)
}

fn any() -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
}

fn tcp() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
}

fn udp() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
}

fn step(operation: Operation, socket: &Socket, remote: Option<SocketAddr>) -> io::Result<Step> {
    let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Step { operation, local, remote })
}

fn bound() -> io::Result<Step> {
    let socket = tcp()?;
    socket.bind(&any())?;
    step(Operation::Bound, &socket, None)
}

fn listener() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn connected() -> io::Result<Step> {
    let (listener, remote) = listener()?;
    let socket = tcp()?;
    socket.connect(&remote.into())?;
    let (mut accepted, _) = listener.accept()?;
    let step = step(Operation::Connected, &socket, Some(remote))?;
    drop(socket);
    // This side has closed first. The read returns when the end of the stream has arrived.
    let _ = accepted.read(&mut [0]);
    Ok(step)
}

fn bound_connected() -> io::Result<Step> {
    let (listener, remote) = listener()?;
    let socket = tcp()?;
    socket.bind(&any())?;
    socket.connect(&remote.into())?;
    let _accepted = listener.accept()?;
    socket.set_linger(Some(Duration::ZERO))?;
    step(Operation::BoundConnected, &socket, Some(remote))
}

/// `None` when the socket has no port afterwards.
fn refused() -> io::Result<Option<Step>> {
    let (listener, remote) = listener()?;
    drop(listener);
    let socket = tcp()?;
    if socket.connect(&remote.into()).is_ok() {
        return Ok(None); // Another program listens there now.
    }
    Ok(step(Operation::Refused, &socket, Some(remote)).ok().filter(|step| step.local.port() != 0))
}

fn in_use() -> io::Result<Step> {
    let (_listener, local) = listener()?;
    // The bind is meant to fail.
    let _ = tcp()?.bind(&local.into());
    Ok(Step { operation: Operation::InUse, local, remote: None })
}

fn bound_udp() -> io::Result<Step> {
    let socket = udp()?;
    socket.bind(&any())?;
    step(Operation::BoundUdp, &socket, None)
}

fn sent_udp() -> io::Result<Step> {
    let receiver = udp()?;
    receiver.bind(&any())?;
    let remote = receiver.local_addr()?;
    let socket = udp()?;
    socket.send_to(&[0], &remote)?;
    step(Operation::SentUdp, &socket, remote.as_socket())
}

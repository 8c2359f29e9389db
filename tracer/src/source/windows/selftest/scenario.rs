//! The walk: own sockets on loopback, every way that a port can go.

use super::{CapturedEvents, Scenario, Step, Way, answers};
use crate::event::Answer;
use crate::source::windows::live::session::{Session, SessionOptions};
use crate::source::{SourceError, Stacks};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the common ways are gone.
const TIMES: usize = 8;
/// How long the tracing is heard at least: its buffers come each second.
const AT_LEAST: Duration = Duration::from_secs(4);
/// How often it is asked for what it has.
const TURN: Duration = Duration::from_millis(200);
/// The session's buffers: enough for a busy machine meanwhile.
const BUFFER_BYTES: u32 = 16 << 20;
/// Nobody has this share: to ask for it makes the kernel's own client connect.
const NO_SHARE: &str = r"\\127.0.0.1\portleak-self-test";

/// Goes the walk and says what was heard of it; the events also go into an event trace in `save`.
/// It waits for `patience` at most for a TIME_WAIT to end.
///
/// # Errors
/// When there can be no session, or own sockets cannot be had.
pub fn run(save: Option<&Path>, patience: Duration) -> Result<Vec<Answer>, SourceError> {
    let options = SessionOptions {
        buffer_bytes: BUFFER_BYTES,
        stacks: Stacks::All,
        of_old: true,
        file: save.map(Path::to_owned),
    };
    let mut session = Session::open(&options)?;
    let mut heard = CapturedEvents::default();
    let steps = go().map_err(|error| failure(&error))?;
    let began = Instant::now();
    // A refusal is an answer, too: no connection will be listed.
    let _ = session.capture_state();
    let mut walk = Scenario { pid: std::process::id(), steps, heard_s: 0 };
    loop {
        sleep(TURN);
        session.flush();
        session.take(|record| heard.hear(record))?;
        walk.heard_s = began.elapsed().as_secs();
        let waits = heard.waits_for(&walk) && began.elapsed() < patience;
        if began.elapsed() >= AT_LEAST && !waits {
            break;
        }
    }
    session.stop();
    session.take(|record| heard.hear(record))?;
    Ok(answers(&heard, &walk))
}

fn failure(error: &io::Error) -> SourceError {
    SourceError {
        what: format!("the self-test's own sockets cannot be had on 127.0.0.1: {error}"),
        remedy: "portleak explain says more of the error; run the self-test while ports are free".to_owned(),
    }
}

fn go() -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for _ in 0..TIMES {
        steps.push(bound()?);
        steps.push(connected()?);
        steps.push(bound_connected()?);
        steps.push(bound_udp()?);
        steps.push(sent_udp()?);
    }
    steps.extend(refused()?);
    steps.push(taken()?);
    // Whatever comes of it: that it is tried is what counts.
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

fn step(way: Way, socket: &Socket, remote: Option<SocketAddr>) -> io::Result<Step> {
    let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Step { way, local, remote })
}

fn bound() -> io::Result<Step> {
    let socket = tcp()?;
    socket.bind(&any())?;
    step(Way::Bound, &socket, None)
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
    let step = step(Way::Connected, &socket, Some(remote))?;
    drop(socket);
    // This side has closed first. That nothing comes any more is known when the read returns.
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
    step(Way::BoundConnected, &socket, Some(remote))
}

/// `None` when the socket has no port after it.
fn refused() -> io::Result<Option<Step>> {
    let (listener, remote) = listener()?;
    drop(listener);
    let socket = tcp()?;
    if socket.connect(&remote.into()).is_ok() {
        return Ok(None); // Somebody else listens there now.
    }
    Ok(step(Way::Refused, &socket, Some(remote)).ok().filter(|step| step.local.port() != 0))
}

fn taken() -> io::Result<Step> {
    let (_listener, local) = listener()?;
    // It fails, which is the point.
    let _ = tcp()?.bind(&local.into());
    Ok(Step { way: Way::Taken, local, remote: None })
}

fn bound_udp() -> io::Result<Step> {
    let socket = udp()?;
    socket.bind(&any())?;
    step(Way::BoundUdp, &socket, None)
}

fn sent_udp() -> io::Result<Step> {
    let receiver = udp()?;
    receiver.bind(&any())?;
    let remote = receiver.local_addr()?;
    let socket = udp()?;
    socket.send_to(&[0], &remote)?;
    step(Way::SentUdp, &socket, remote.as_socket())
}

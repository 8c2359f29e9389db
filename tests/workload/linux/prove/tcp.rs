//! TCP: every way to take a port, and every way to lose it.

use super::Program;
use super::story::{NOBODY, SERVER, Story, if_possible, must_fail, server, server_at};
use crate::linux::raw::{CLOSE_WAIT, CLOSED, SYN_SENT, Socket};
use anyhow::Result;
use portleak_tests::netns;

pub(super) const CASES: &[(&str, Program)] = &[
    ("tcp-bind0", bind0),
    ("tcp-bind-in-range", bind_in_range),
    ("tcp-bind-below-range", bind_below_range),
    ("tcp-reset", reset),
    ("tcp-passive-close", passive_close),
    ("tcp-peer-reset", peer_reset),
    ("tcp-bind0-peer-reset", bind0_peer_reset),
    ("tcp-bind-fixed-peer-reset", bind_fixed_peer_reset),
    ("tcp-listen-unbound", listen_unbound),
    ("tcp-listen-twice", listen_twice),
    ("tcp-disconnect", disconnect),
    ("tcp-bind0-connect", bind0_connect),
    ("tcp-bind-no-port", bind_no_port),
    ("tcp-refused-twice", refused_twice),
    ("tcp-syn-sent", syn_sent),
    ("tcp-accept", accept),
    ("tcp-fast-open", fast_open),
    ("tcp-fast-open-connect", fast_open_connect),
    ("tcp-close-wait", close_wait),
    ("tcp-bind-fails", bind_fails),
    ("tcp-bind-non-local", bind_non_local),
    ("tcp-unreachable", unreachable),
    ("tcp-shut-down", shut_down),
    ("tcp-listen-again", listen_again),
];

fn bind0(story: &mut Story) -> Result<()> {
    let socket = Socket::tcp()?;
    socket.bind("127.0.0.1:0")?;
    story.took(&socket)
}

fn bind_in_range(story: &mut Story) -> Result<()> {
    let socket = Socket::tcp()?;
    socket.bind("127.0.0.1:45555")?;
    story.took(&socket)
}

fn bind_below_range(story: &mut Story) -> Result<()> {
    Socket::tcp()?.bind("127.0.0.1:7005")?;
    story.marker()
}

fn reset(story: &mut Story) -> Result<()> {
    let listener = server()?;
    let (client, _peer) = story.connection(&listener)?;
    client.reset_on_close()?;
    drop(client);
    Ok(())
}

fn passive_close(story: &mut Story) -> Result<()> {
    let listener = server()?;
    let (client, peer) = story.connection(&listener)?;
    drop(peer);
    client.until(CLOSE_WAIT)?;
    story.marker()
}

fn peer_reset(story: &mut Story) -> Result<()> {
    reset_by_peer(story, None)
}

fn bind0_peer_reset(story: &mut Story) -> Result<()> {
    reset_by_peer(story, Some("127.0.0.1:0"))
}

fn bind_fixed_peer_reset(story: &mut Story) -> Result<()> {
    reset_by_peer(story, Some("127.0.0.1:45555"))
}

/// The marker comes after the reset and before the client's close.
fn reset_by_peer(story: &mut Story, bound_to: Option<&str>) -> Result<()> {
    let listener = server()?;
    let client = Socket::tcp()?;
    bound_to.map_or(Ok(()), |address| client.bind(address))?;
    client.connect(SERVER)?;
    story.took(&client)?;
    let peer = listener.accept()?;
    peer.reset_on_close()?;
    drop(peer);
    client.until(CLOSED)?;
    story.marker()
}

fn listen_unbound(story: &mut Story) -> Result<()> {
    let listener = Socket::tcp()?;
    listener.listen(5)?;
    story.took(&listener)
}

fn listen_twice(story: &mut Story) -> Result<()> {
    let listener = Socket::tcp()?;
    listener.bind("127.0.0.1:0")?;
    story.took(&listener)?;
    listener.listen(5)?;
    listener.listen(6)?;
    Ok(())
}

/// A listener that stops listening, and starts again.
fn listen_again(story: &mut Story) -> Result<()> {
    let listener = Socket::tcp()?;
    listener.listen(5)?;
    story.took(&listener)?;
    listener.disconnect()?;
    story.marker()?;
    listener.listen(5)?;
    story.took(&listener)
}

fn disconnect(story: &mut Story) -> Result<()> {
    let _listener = server()?;
    let client = Socket::tcp()?;
    client.connect(SERVER)?;
    story.took(&client)?;
    client.disconnect()?;
    story.marker()?;
    client.connect(SERVER)?;
    story.took(&client)?;
    client.reset_on_close()?;
    Ok(())
}

fn bind0_connect(story: &mut Story) -> Result<()> {
    let _listener = server()?;
    let client = Socket::tcp()?;
    client.bind("127.0.0.1:0")?;
    story.took(&client)?;
    client.connect(SERVER)?;
    client.reset_on_close()?;
    Ok(())
}

fn bind_no_port(story: &mut Story) -> Result<()> {
    let _listener = server()?;
    let client = Socket::tcp()?;
    client.set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    client.bind("127.0.0.1:0")?;
    story.marker()?;
    client.connect(SERVER)?;
    story.took(&client)?;
    client.reset_on_close()?;
    Ok(())
}

fn refused_twice(story: &mut Story) -> Result<()> {
    let client = Socket::tcp()?;
    for _ in 0..2 {
        must_fail(client.connect(NOBODY), libc::ECONNREFUSED)?;
        story.took(&client)?;
    }
    Ok(())
}

/// A server whose queue is full does not answer.
fn syn_sent(story: &mut Story) -> Result<()> {
    let listener = Socket::tcp()?;
    listener.bind(SERVER)?;
    listener.listen(0)?;
    let first = Socket::tcp()?;
    first.connect(SERVER)?;
    story.took(&first)?;
    let second = Socket::tcp()?;
    second.set_nonblocking()?;
    must_fail(second.connect(SERVER), libc::EINPROGRESS)?;
    story.took(&second)?;
    second.until(SYN_SENT)?;
    drop(second);
    first.reset_on_close()?;
    Ok(())
}

/// The listener's port is in the range; its accepted connections took none.
fn accept(story: &mut Story) -> Result<()> {
    let listener = server_at("127.0.0.1:45555")?;
    story.took(&listener)?;
    for _ in 0..3 {
        let client = Socket::tcp()?;
        client.connect("127.0.0.1:45555")?;
        story.took(&client)?;
        let accepted = listener.accept()?;
        client.reset_on_close()?;
        drop(client);
        accepted.until(CLOSED)?;
    }
    Ok(())
}

/// Client and server, neither asking for a cookie: data goes with the first SYN already
/// (bits 0x607 of `tcp_fastopen`, Documentation/networking/ip-sysctl.rst).
const FAST_OPEN: &str = "1543";

fn fast_open_server() -> Result<Socket> {
    netns::set("net/ipv4/tcp_fastopen", FAST_OPEN)?;
    let listener = server()?;
    if_possible("TCP fast open", listener.set(libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 5))?;
    Ok(listener)
}

fn fast_open(story: &mut Story) -> Result<()> {
    let _listener = fast_open_server()?;
    let client = Socket::tcp()?;
    client.send_with(SERVER, libc::MSG_FASTOPEN)?;
    story.took(&client)?;
    client.reset_on_close()?;
    Ok(())
}

/// The SYN waits for the first data; the port does not.
fn fast_open_connect(story: &mut Story) -> Result<()> {
    let _listener = fast_open_server()?;
    let client = Socket::tcp()?;
    client.set(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
    client.connect(SERVER)?;
    story.took(&client)?;
    story.marker()?;
    client.send_to(SERVER).or_else(|error| match error.raw_os_error() {
        Some(libc::EISCONN) => Ok(()),
        _ => Err(error),
    })?;
    client.reset_on_close()?;
    Ok(())
}

fn close_wait(story: &mut Story) -> Result<()> {
    let listener = server()?;
    let mut held = Vec::new();
    for _ in 0..3 {
        let (client, peer) = story.connection(&listener)?;
        drop(peer);
        client.until(CLOSE_WAIT)?;
        held.push(client);
    }
    story.marker()
}

/// A port that is taken by number already is not taken twice.
fn bind_fails(story: &mut Story) -> Result<()> {
    let first = Socket::tcp()?;
    first.bind("127.0.0.1:45555")?;
    story.took(&first)?;
    must_fail(Socket::tcp()?.bind("127.0.0.1:45555"), libc::EADDRINUSE)
}

/// An address that is not ours: no port was asked for.
fn bind_non_local(story: &mut Story) -> Result<()> {
    must_fail(Socket::tcp()?.bind("192.0.2.1:0"), libc::EADDRNOTAVAIL)?;
    story.marker()
}

/// No route: the connection ends before a port is chosen.
fn unreachable(story: &mut Story) -> Result<()> {
    must_fail(Socket::tcp()?.connect("192.0.2.1:80"), libc::ENETUNREACH)?;
    story.marker()
}

/// Shut down for sending, the peer still talks: held until the peer closes too.
fn shut_down(story: &mut Story) -> Result<()> {
    let listener = server()?;
    let (client, peer) = story.connection(&listener)?;
    client.shut_down()?;
    story.marker()?;
    peer.until(CLOSE_WAIT)?;
    peer.reset_on_close()?;
    drop(peer);
    client.until(CLOSED)?;
    Ok(())
}

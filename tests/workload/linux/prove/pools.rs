//! Pools: exhausted, shared, narrowed.

use super::Program;
use super::story::{NOBODY, SERVER, Story, four_ports, if_possible, must_fail, server, server_at};
use crate::linux::raw::Socket;
use anyhow::Result;
use portleak_tests::netns;
use std::time::Duration;

/// In which time the tracer notices that few UDP ports are left, with much to spare.
pub(super) const NOTICED: Duration = Duration::from_secs(4);

pub(super) const CASES: &[(&str, Program)] = &[
    ("reuse-port", reuse_port),
    ("reuse-address", reuse_address),
    ("two-addresses", two_addresses),
    ("exhausted-tcp-bind0", exhausted_tcp_bind0),
    ("exhausted-udp-bind0", exhausted_udp_bind0),
    ("exhausted-tcp-bind0-any", exhausted_tcp_bind0_any),
    ("exhausted-bind0-v6", exhausted_bind0_v6),
    ("exhausted-bind0-again", exhausted_bind0_again),
    ("exhausted-bind0-kept", exhausted_bind0_kept),
    ("exhausted-udp-send", exhausted_udp_send),
    ("exhausted-udp-send-v6", exhausted_udp_send_v6),
    ("exhausted-udp-connect", exhausted_udp_connect),
    ("exhausted-tcp-listen", exhausted_tcp_listen),
    ("exhausted-tcp-connect", exhausted_tcp_connect),
    ("exhausted-tcp-connect-no-port", exhausted_tcp_connect_no_port),
    ("two-destinations", two_destinations),
    ("reserved-ports", reserved_ports),
    ("local-port-range", local_port_range),
    ("autobind-reuse", autobind_reuse),
    ("own-range", own_range),
];

fn reuse_port(story: &mut Story) -> Result<()> {
    shared(story, libc::SO_REUSEPORT)
}

fn reuse_address(story: &mut Story) -> Result<()> {
    shared(story, libc::SO_REUSEADDR)
}

/// Two sockets on one port: it is free when the second is closed.
fn shared(story: &mut Story, option: i32) -> Result<()> {
    let (first, second) = (Socket::tcp()?, Socket::tcp()?);
    first.set(libc::SOL_SOCKET, option, 1)?;
    second.set(libc::SOL_SOCKET, option, 1)?;
    first.bind("127.0.0.1:0")?;
    story.took(&first)?;
    second.bind(&format!("127.0.0.1:{}", first.port()?))?;
    story.took(&second)?;
    drop(first);
    Ok(())
}

fn two_addresses(story: &mut Story) -> Result<()> {
    let (first, second) = (Socket::tcp()?, Socket::tcp()?);
    first.bind("127.0.0.1:45555")?;
    story.took(&first)?;
    second.bind("127.0.0.2:45555")?;
    story.took(&second)?;
    drop(first);
    Ok(())
}

/// Takes all four ports of the pool in some way, then twice more in vain.
fn exhaust(
    story: &mut Story,
    open: fn() -> std::io::Result<Socket>,
    take: impl Fn(&Socket) -> std::io::Result<()>,
    code: i32,
) -> Result<()> {
    exhaust_slowly(story, open, take, code, Duration::ZERO)
}

/// The same, with a pause before what is tried in vain.
fn exhaust_slowly(
    story: &mut Story,
    open: fn() -> std::io::Result<Socket>,
    take: impl Fn(&Socket) -> std::io::Result<()>,
    code: i32,
    pause: Duration,
) -> Result<()> {
    four_ports()?;
    let mut held = Vec::new();
    for _ in 0..4 {
        let socket = open()?;
        take(&socket)?;
        story.took(&socket)?;
        held.push(socket);
    }
    std::thread::sleep(pause);
    for _ in 0..2 {
        must_fail(take(&open()?), code)?;
    }
    held.into_iter().for_each(drop);
    Ok(())
}

fn exhausted_tcp_bind0(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::tcp, |socket| socket.bind("127.0.0.1:0"), libc::EADDRINUSE)
}

fn exhausted_udp_bind0(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::udp, |socket| socket.bind("127.0.0.1:0"), libc::EADDRINUSE)
}

fn exhausted_tcp_bind0_any(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::tcp, |socket| socket.bind("0.0.0.0:0"), libc::EADDRINUSE)
}

fn exhausted_bind0_v6(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::udp6, |socket| socket.bind("[::1]:0"), libc::EADDRINUSE)
}

/// One socket that is bound in vain, twice, and then in earnest. That its address is not this
/// machine's, that it has a port already, or that it wants none, is another matter.
fn exhausted_bind0_again(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40000")?;
    let (holder, other) = (Socket::tcp()?, Socket::tcp()?);
    holder.bind("127.0.0.1:0")?;
    story.took(&holder)?;
    for _ in 0..2 {
        must_fail(other.bind("127.0.0.1:0"), libc::EADDRINUSE)?;
    }
    must_fail(other.bind("192.0.2.1:0"), libc::EADDRNOTAVAIL)?;
    must_fail(holder.bind("127.0.0.1:0"), libc::EINVAL)?;
    let portless = Socket::tcp()?;
    portless.set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    portless.bind("127.0.0.1:0")?;
    drop(portless);
    drop(holder);
    other.bind("127.0.0.1:0")?;
    story.took(&other)
}

/// A socket that nothing more is done with.
fn exhausted_bind0_kept(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40000")?;
    let (holder, kept) = (Socket::udp()?, Socket::udp()?);
    holder.bind("127.0.0.1:0")?;
    story.took(&holder)?;
    must_fail(kept.bind("127.0.0.1:0"), libc::EADDRINUSE)?;
    std::thread::sleep(Duration::from_millis(1600));
    drop(holder);
    Ok(())
}

fn exhausted_udp_send_v6(story: &mut Story) -> Result<()> {
    exhaust_slowly(story, Socket::udp6, |socket| socket.send_to("[::1]:7009"), libc::EAGAIN, NOTICED)
}

fn exhausted_udp_send(story: &mut Story) -> Result<()> {
    exhaust_slowly(story, Socket::udp, |socket| socket.send_to("127.0.0.1:7009"), libc::EAGAIN, NOTICED)
}

fn exhausted_udp_connect(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::udp, |socket| socket.connect("127.0.0.1:7009"), libc::EAGAIN)
}

fn exhausted_tcp_listen(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::tcp, |socket| socket.listen(5), libc::EADDRINUSE)
}

fn exhausted_tcp_connect(story: &mut Story) -> Result<()> {
    let _listener = server()?;
    let connect = |socket: &Socket| {
        socket.reset_on_close()?;
        socket.connect(SERVER)
    };
    exhaust(story, Socket::tcp, connect, libc::EADDRNOTAVAIL)
}

fn exhausted_tcp_connect_no_port(story: &mut Story) -> Result<()> {
    let _listener = server()?;
    let connect = |socket: &Socket| {
        socket.reset_on_close()?;
        socket.set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        socket.bind("127.0.0.1:0")?;
        socket.connect(SERVER)
    };
    exhaust(story, Socket::tcp, connect, libc::EADDRNOTAVAIL)
}

/// Every destination has the whole pool.
fn two_destinations(story: &mut Story) -> Result<()> {
    four_ports()?;
    let _listeners = (server()?, server_at("127.0.0.1:7002")?);
    let mut held = Vec::new();
    for to in [SERVER, "127.0.0.1:7002"] {
        for _ in 0..4 {
            let socket = Socket::tcp()?;
            socket.reset_on_close()?;
            socket.connect(to)?;
            story.took(&socket)?;
            held.push(socket);
        }
        must_fail(Socket::tcp()?.connect(to), libc::EADDRNOTAVAIL)?;
    }
    story.marker()
}

/// Reserved ports are nobody's, and whoever binds one has taken nothing from the pool.
fn reserved_ports(story: &mut Story) -> Result<()> {
    four_ports()?;
    netns::set("net/ipv4/ip_local_reserved_ports", "40000,40002-40003")?;
    let reserved = Socket::tcp()?;
    reserved.bind("127.0.0.1:40002")?;
    let only = Socket::tcp()?;
    only.bind("127.0.0.1:0")?;
    story.took(&only)?;
    must_fail(Socket::tcp()?.listen(1), libc::EADDRINUSE)
}

/// `IP_LOCAL_PORT_RANGE` narrows the pool for one socket.
fn local_port_range(story: &mut Story) -> Result<()> {
    const IP_LOCAL_PORT_RANGE: i32 = 51;
    let narrow = Socket::tcp()?;
    let low_and_high: u32 = 50_000 | 50_000 << 16;
    let set = narrow.set_to(libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, &low_and_high);
    if_possible("IP_LOCAL_PORT_RANGE", set)?;
    let _ = narrow.connect(NOBODY);
    story.took(&narrow)
}

fn autobind_reuse(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40001")?;
    netns::set("net/ipv4/ip_autobind_reuse", "1")?;
    let mut held = Vec::new();
    for _ in 0..3 {
        let socket = Socket::tcp()?;
        socket.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        socket.bind("127.0.0.1:0")?;
        story.took(&socket)?;
        held.push(socket);
    }
    held.into_iter().for_each(drop);
    Ok(())
}

/// The namespace's own range counts, not this machine's.
fn own_range(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "20000 20007")?;
    let (outside, inside) = (Socket::tcp()?, Socket::tcp()?);
    outside.bind("127.0.0.1:45555")?;
    inside.bind("127.0.0.1:0")?;
    story.took(&inside)?;
    drop(outside);
    story.marker()
}

//! Pools: exhausted, shared, narrowed.

use super::Program;
use super::story::{NOBODY, SERVER, Story, four_ports, if_possible, must_fail, server, server_at};
use crate::linux::netns;
use crate::linux::raw::Socket;
use anyhow::Result;

pub(super) const CASES: &[(&str, Program)] = &[
    ("reuse-port", reuse_port),
    ("reuse-address", reuse_address),
    ("two-addresses", two_addresses),
    ("exhausted-tcp-bind0", exhausted_tcp_bind0),
    ("exhausted-udp-bind0", exhausted_udp_bind0),
    ("exhausted-udp-send", exhausted_udp_send),
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
    four_ports()?;
    let mut held = Vec::new();
    for _ in 0..4 {
        let socket = open()?;
        take(&socket)?;
        story.took(&socket)?;
        held.push(socket);
    }
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

fn exhausted_udp_send(story: &mut Story) -> Result<()> {
    exhaust(story, Socket::udp, |socket| socket.send_to("127.0.0.1:7009"), libc::EAGAIN)
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

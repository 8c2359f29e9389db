//! Kinds of sockets that look like TCP or UDP, and ports that are taken away by force.

use super::Program;
use super::story::{SERVER, Story, if_possible, server};
use crate::linux::raw::{CLOSED, Socket};
use anyhow::Result;
use portleak_tests::netns;
use std::io;

pub(super) const CASES: &[(&str, Program)] = &[
    ("mptcp-connect", mptcp_connect),
    ("mptcp-bind0", mptcp_bind0),
    ("destroy-tcp", destroy_tcp),
    ("destroy-udp", destroy_udp),
    ("not-sctp", sctp),
    ("not-ping", ping),
    ("not-raw", raw),
    ("not-udp-lite", udp_lite),
];

fn mptcp() -> Result<Socket> {
    if_possible("MPTCP", Socket::open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP))
}

/// The port is a subflow's, whose socket the kernel made; the owner is who asked for it.
fn mptcp_connect(story: &mut Story) -> Result<()> {
    let listener = mptcp()?;
    listener.bind(SERVER)?;
    listener.listen(5)?;
    let client = mptcp()?;
    client.connect(SERVER)?;
    story.took(&client)?;
    client.reset_on_close()?;
    Ok(())
}

fn mptcp_bind0(story: &mut Story) -> Result<()> {
    let socket = mptcp()?;
    socket.bind("127.0.0.1:0")?;
    story.took(&socket)
}

fn destroy_tcp(story: &mut Story) -> Result<()> {
    let listener = server()?;
    let (client, _peer) = story.connection(&listener)?;
    if_possible("SOCK_DESTROY", destroy(libc::IPPROTO_TCP, client.port()?, 7001))?;
    client.until(CLOSED)?;
    story.marker()
}

fn destroy_udp(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    socket.bind("127.0.0.1:0")?;
    story.took(&socket)?;
    socket.connect("127.0.0.1:7009")?;
    if_possible("SOCK_DESTROY", destroy(libc::IPPROTO_UDP, socket.port()?, 7009))?;
    story.marker()
}

fn sctp(story: &mut Story) -> Result<()> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP);
    let listener = if_possible("SCTP", socket)?;
    listener.listen(5)?;
    story.marker()
}

fn udp_lite(story: &mut Story) -> Result<()> {
    let socket = Socket::open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE);
    let socket = if_possible("UDP-Lite", socket)?;
    socket.bind("127.0.0.1:0")?;
    socket.connect("127.0.0.1:7009")?;
    story.marker()
}

fn ping(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ping_group_range", "0 0")?;
    let socket = Socket::open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
    socket.bind("127.0.0.1:45555")?;
    socket.connect("127.0.0.1:0")?;
    story.marker()
}

fn raw(story: &mut Story) -> Result<()> {
    for protocol in [libc::IPPROTO_ICMP, libc::IPPROTO_RAW, libc::IPPROTO_UDP, libc::IPPROTO_TCP] {
        let socket = Socket::open(libc::AF_INET, libc::SOCK_RAW, protocol)?;
        socket.bind("127.0.0.1:0")?;
        socket.connect("127.0.0.1:0")?;
    }
    story.marker()
}

/// Kills a socket from 127.0.0.1 to 127.0.0.1, as `ss -K` does: `SOCK_DESTROY`
/// (include/uapi/linux/sock_diag.h, inet_diag.h).
pub(super) fn destroy(protocol: i32, from: u16, to: u16) -> io::Result<()> {
    const SOCK_DESTROY: u16 = 21;
    const REQUEST_ACK: u16 = 0x5;
    let mut request = [0; 72];
    request[0] = 72;
    request[4..6].copy_from_slice(&SOCK_DESTROY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_ACK.to_ne_bytes());
    request[16] = u8::try_from(libc::AF_INET).map_err(io::Error::other)?;
    request[17] = u8::try_from(protocol).map_err(io::Error::other)?;
    request[20..24].fill(0xff); // All states.
    request[24..26].copy_from_slice(&from.to_be_bytes());
    request[26..28].copy_from_slice(&to.to_be_bytes());
    request[28..32].copy_from_slice(&[127, 0, 0, 1]);
    request[44..48].copy_from_slice(&[127, 0, 0, 1]);
    request[64..72].fill(0xff); // Any cookie.
    acknowledged(&request)
}

/// Sends a netlink request and returns the error that the kernel answers.
fn acknowledged(request: &[u8]) -> io::Result<()> {
    let netlink = Socket::open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG)?;
    let mut answer = [0u8; 4096];
    // SAFETY: pointer and length are those of one slice.
    let sent = unsafe { libc::send(netlink.fd(), request.as_ptr().cast(), request.len(), 0) };
    // SAFETY: pointer and length are those of one writable array.
    let received = unsafe { libc::recv(netlink.fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    if sent < 0 || received < 20 {
        return Err(io::Error::last_os_error());
    }
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

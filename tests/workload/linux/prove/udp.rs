//! UDP: a port by binding, by connecting, by sending.

use super::Program;
use super::story::{Story, must_fail};
use crate::linux::raw::Socket;
use anyhow::Result;

pub(super) const CASES: &[(&str, Program)] = &[
    ("udp-bind0", bind0),
    ("udp-bind0-v6", bind0_v6),
    ("udp-bind-in-range", bind_in_range),
    ("udp-connect", connect),
    ("udp-connect-v6", connect_v6),
    ("udp-connect-mapped", connect_mapped),
    ("udp-send", send),
    ("udp-send-v6", send_v6),
    ("udp-send-mapped", send_mapped),
    ("udp-connect-twice", connect_twice),
    ("udp-connect-send", connect_send),
    ("udp-disconnect", disconnect),
    ("udp-disconnect-close", disconnect_close),
    ("udp-disconnect-wait", disconnect_wait),
    ("udp-bind0-disconnect", bind0_disconnect),
    ("udp-disconnect-send", disconnect_send),
    ("udp-disconnect-bind", disconnect_bind),
    ("udp-connect-disconnect-send", connect_disconnect_send),
    ("udp-connect-disconnect-bind", connect_disconnect_bind),
    ("udp-bind-fixed-disconnect", bind_fixed_disconnect),
    ("udp-unreachable", unreachable),
];

fn bind(story: &mut Story, socket: &Socket, address: &str) -> Result<()> {
    socket.bind(address)?;
    story.took(socket)
}

fn bind0(story: &mut Story) -> Result<()> {
    bind(story, &Socket::udp()?, "127.0.0.1:0")
}

fn bind0_v6(story: &mut Story) -> Result<()> {
    bind(story, &Socket::udp6()?, "[::]:0")
}

fn bind_in_range(story: &mut Story) -> Result<()> {
    bind(story, &Socket::udp()?, "0.0.0.0:45555")
}

fn connected(story: &mut Story, socket: &Socket, address: &str) -> Result<()> {
    socket.connect(address)?;
    story.took(socket)
}

fn connect(story: &mut Story) -> Result<()> {
    connected(story, &Socket::udp()?, "127.0.0.1:7009")
}

fn connect_v6(story: &mut Story) -> Result<()> {
    connected(story, &Socket::udp6()?, "[::1]:7009")
}

fn connect_mapped(story: &mut Story) -> Result<()> {
    connected(story, &Socket::udp6()?, "[::ffff:127.0.0.1]:7009")
}

/// The port comes with the first datagram and stays.
fn sent(story: &mut Story, socket: &Socket, address: &str) -> Result<()> {
    socket.send_to(address)?;
    story.took(socket)?;
    story.marker()?;
    socket.send_to(address)?;
    Ok(())
}

fn send(story: &mut Story) -> Result<()> {
    sent(story, &Socket::udp()?, "127.0.0.1:7009")
}

fn send_v6(story: &mut Story) -> Result<()> {
    sent(story, &Socket::udp6()?, "[::1]:7009")
}

fn send_mapped(story: &mut Story) -> Result<()> {
    sent(story, &Socket::udp6()?, "[::ffff:127.0.0.1]:7009")
}

fn connect_twice(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    connected(story, &socket, "127.0.0.1:7009")?;
    socket.connect("127.0.0.1:7010")?;
    Ok(())
}

fn connect_send(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    connected(story, &socket, "127.0.0.1:7009")?;
    socket.send_to("127.0.0.2:7010")?;
    Ok(())
}

/// Gives the port back without closing, and takes another.
fn disconnect(story: &mut Story) -> Result<()> {
    let socket = given_back_unseen(story)?;
    connected(story, &socket, "127.0.0.1:7010")
}

/// Gives the port back, and has none when it is closed.
fn disconnect_close(story: &mut Story) -> Result<()> {
    given_back_unseen(story).map(drop)
}

/// The same, and stays open for longer than the tracer waits before it looks.
fn disconnect_wait(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    socket.connect("127.0.0.1:7009")?;
    story.took_unseen();
    socket.disconnect()?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    story.marker()
}

/// A port that `bind(0)` gave goes with the disconnect, too.
fn bind0_disconnect(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    bind(story, &socket, "127.0.0.1:0")?;
    socket.connect("127.0.0.1:7009")?;
    socket.disconnect()?;
    story.marker()
}

/// Gives the port back, and gets another by sending.
fn disconnect_send(story: &mut Story) -> Result<()> {
    let socket = given_back(story)?;
    socket.send_to("127.0.0.1:7009")?;
    story.took(&socket)
}

/// Gives the port back, and gets another by binding again.
fn disconnect_bind(story: &mut Story) -> Result<()> {
    let socket = given_back(story)?;
    bind(story, &socket, "127.0.0.1:0")
}

fn given_back(story: &mut Story) -> Result<Socket> {
    let socket = Socket::udp()?;
    bind(story, &socket, "127.0.0.1:0")?;
    socket.connect("127.0.0.1:7009")?;
    socket.disconnect()?;
    story.marker()?;
    Ok(socket)
}

/// The same with a port whose number nothing has shown yet.
fn connect_disconnect_send(story: &mut Story) -> Result<()> {
    let socket = given_back_unseen(story)?;
    socket.send_to("127.0.0.1:7009")?;
    story.took(&socket)
}

fn connect_disconnect_bind(story: &mut Story) -> Result<()> {
    let socket = given_back_unseen(story)?;
    bind(story, &socket, "127.0.0.1:0")
}

fn given_back_unseen(story: &mut Story) -> Result<Socket> {
    let socket = Socket::udp()?;
    socket.connect("127.0.0.1:7009")?;
    story.took_unseen();
    socket.disconnect()?;
    story.marker()?;
    Ok(socket)
}

/// A port that was asked for by number stays.
fn bind_fixed_disconnect(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    bind(story, &socket, "127.0.0.1:45555")?;
    socket.connect("127.0.0.1:7009")?;
    socket.disconnect()?;
    story.marker()
}

/// A connect that finds no route has its port nevertheless (`inet_autobind` comes first).
fn unreachable(story: &mut Story) -> Result<()> {
    let socket = Socket::udp()?;
    must_fail(socket.connect("192.0.2.1:80"), libc::ENETUNREACH)?;
    story.took(&socket)?;
    story.marker()
}

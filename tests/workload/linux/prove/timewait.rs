//! TIME_WAIT: when it begins, and every way in which it ends.

use super::Program;
use super::story::{SERVER, Story, four_ports, if_possible, server};
use crate::linux::raw::{CLOSE_WAIT, Socket, until};
use anyhow::Result;
use portleak_tests::netns;
use std::fs;
use std::io;
use std::time::Duration;

pub(super) const CASES: &[(&str, Program)] = &[
    ("tcp-active-close", active_close_v4),
    ("tcp-active-close-v6", active_close_v6),
    ("tcp-active-close-mapped", active_close_mapped),
    ("tcp-bind-fixed-active-close", bind_fixed_active_close),
    ("time-wait-orphan", orphan),
    ("time-wait-late-fin", late_fin),
    ("time-wait-reused", reused),
    ("time-wait-no-room", no_room),
    ("time-wait-destroyed", destroyed),
];

fn active_close_v4(story: &mut Story) -> Result<()> {
    active_close(story, &Socket::tcp()?, SERVER, &server()?)
}

fn active_close_v6(story: &mut Story) -> Result<()> {
    let listener = Socket::tcp6()?;
    listener.bind("[::1]:7001")?;
    listener.listen(5)?;
    active_close(story, &Socket::tcp6()?, "[::1]:7001", &listener)
}

fn active_close_mapped(story: &mut Story) -> Result<()> {
    active_close(story, &Socket::tcp6()?, "[::ffff:127.0.0.1]:7001", &server()?)
}

fn bind_fixed_active_close(story: &mut Story) -> Result<()> {
    let client = Socket::tcp()?;
    client.bind("127.0.0.1:45555")?;
    active_close(story, &client, SERVER, &server()?)
}

/// The client says its FIN first, the server at once after it. The namespace ends with this
/// process, and the TIME_WAIT with it.
fn active_close(story: &mut Story, client: &Socket, to: &str, listener: &Socket) -> Result<()> {
    client.connect(to)?;
    story.took(client)?;
    let peer = listener.accept()?;
    client.shut_down()?;
    peer.until(CLOSE_WAIT)?;
    drop(peer);
    Ok(())
}

/// A connection that this side closed and whose peer does not, for two seconds (`TCP_LINGER2`).
fn half_closed(story: &mut Story) -> Result<(Socket, u16)> {
    let listener = server()?;
    let client = Socket::tcp()?;
    client.set(libc::IPPROTO_TCP, libc::TCP_LINGER2, 2)?;
    client.connect(SERVER)?;
    story.took(&client)?;
    let peer = listener.accept()?;
    let port = client.port()?;
    drop(client);
    // Its FIN is acknowledged, if need be by a delayed ACK; a FIN of the peer's now is a late one.
    until("FIN_WAIT2", || Ok(sockets()?.contains(&(local(port), "05".to_owned()))))?;
    Ok((peer, port))
}

fn orphan(story: &mut Story) -> Result<()> {
    let (_peer, port) = half_closed(story)?;
    until_free(port)?;
    story.marker()
}

fn late_fin(story: &mut Story) -> Result<()> {
    let (peer, _) = half_closed(story)?;
    drop(peer);
    story.marker()
}

/// The only port of the pool, a second later (`tcp_twsk_unique`).
fn reused(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40000")?;
    netns::set("net/ipv4/tcp_tw_reuse", "1")?;
    let listener = server()?;
    let client = Socket::tcp()?;
    active_close(story, &client, SERVER, &listener)?;
    drop(client);
    let again = Socket::tcp()?;
    until("the port to be reused", || match again.connect(SERVER) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
            std::thread::sleep(Duration::from_millis(1100));
            Ok(false)
        }
        Err(error) => Err(error),
    })?;
    story.took(&again)?;
    again.reset_on_close()?;
    Ok(())
}

fn no_room(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/tcp_max_tw_buckets", "0")?;
    active_close(story, &Socket::tcp()?, SERVER, &server()?)
}

fn destroyed(story: &mut Story) -> Result<()> {
    four_ports()?;
    let client = Socket::tcp()?;
    active_close(story, &client, SERVER, &server()?)?;
    let port = client.port()?;
    drop(client);
    if_possible("SOCK_DESTROY", super::kinds::destroy(libc::IPPROTO_TCP, port, 7001))?;
    until_free(port)?;
    story.marker()
}

/// Waits until no socket of this namespace, TIME_WAIT included, has the local port.
fn until_free(port: u16) -> Result<()> {
    let local = local(port);
    Ok(until("the port to be free", || Ok(sockets()?.iter().all(|(address, _)| *address != local)))?)
}

/// A port of 127.0.0.1, as /proc/net/tcp writes it.
fn local(port: u16) -> String {
    format!("0100007F:{port:04X}")
}

/// Local address and state of everything in /proc/net/tcp.
fn sockets() -> io::Result<Vec<(String, String)>> {
    let table = fs::read_to_string("/proc/self/net/tcp")?;
    let row = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        Some((columns.next()?.to_owned(), columns.nth(1)?.to_owned()))
    };
    Ok(table.lines().filter_map(row).collect())
}

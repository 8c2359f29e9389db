//! What a case tells of itself, and steps that many cases share.

use crate::linux::raw::Socket;
use anyhow::Result;
use portleak_tests::netns;
use serde::Serialize;
use std::io;

/// Where the cases' servers listen: below the ephemeral range, so none of the tracer's business.
pub(super) const SERVER: &str = "127.0.0.1:7001";
/// Where nobody listens.
pub(super) const NOBODY: &str = "127.0.0.1:7099";

/// A port taken.
#[derive(Serialize)]
pub(super) struct Took {
    pid: u32,
    /// `None` where only function probes show it, and maybe that it was taken at all.
    port: Option<u16>,
}

/// The ports that a case takes, in order.
#[derive(Default)]
pub(super) struct Story(Vec<Took>);

impl Story {
    /// This process has taken the port that the socket has.
    pub(super) fn took(&mut self, socket: &Socket) -> Result<()> {
        self.took_by(std::process::id(), socket.port()?);
        Ok(())
    }

    /// A process has taken a port.
    pub(super) fn took_by(&mut self, pid: u32, port: u16) {
        self.0.push(Took { pid, port: Some(port) });
    }

    /// This process has taken a port whose number cannot be seen.
    pub(super) fn took_unseen(&mut self) {
        self.0.push(Took { pid: std::process::id(), port: None });
    }

    /// Takes a port and gives it back, to show the order of things.
    pub(super) fn marker(&mut self) -> Result<()> {
        let marker = Socket::udp()?;
        marker.bind("127.0.0.1:0")?;
        self.took(&marker)
    }

    /// A connection to `listener`, both ends.
    pub(super) fn connection(&mut self, listener: &Socket) -> Result<(Socket, Socket)> {
        let client = Socket::tcp()?;
        client.connect(SERVER)?;
        self.took(&client)?;
        Ok((client, listener.accept()?))
    }

    pub(super) fn into_took(self) -> Vec<Took> {
        self.0
    }
}

/// A case that this kernel cannot run, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Impossible(pub(super) String);

/// Takes "no such protocol, option or command" for an answer.
pub(super) fn if_possible<T>(what: &str, result: io::Result<T>) -> Result<T> {
    const UNKNOWN: [i32; 7] = [
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::EAFNOSUPPORT,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::ENOSYS,
        libc::ENOENT,
    ];
    result.map_err(|error| {
        if error.raw_os_error().is_some_and(|code| UNKNOWN.contains(&code)) {
            Impossible(format!("this kernel has no {what}: {error}")).into()
        } else {
            anyhow::Error::from(error).context(what.to_owned())
        }
    })
}

/// A server, listening.
pub(super) fn server() -> Result<Socket> {
    server_at(SERVER)
}

pub(super) fn server_at(address: &str) -> Result<Socket> {
    let server = Socket::tcp()?;
    server.bind(address)?;
    server.listen(64)?;
    Ok(server)
}

/// A pool of four ports.
pub(super) fn four_ports() -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40003")
}

/// The error number of a call that must fail.
pub(super) fn must_fail<T>(result: io::Result<T>, code: i32) -> Result<()> {
    let found = result.err().and_then(|error| error.raw_os_error());
    anyhow::ensure!(found == Some(code), "expected error {code}, found {found:?}");
    Ok(())
}

//! A network namespace of its own: its ports are nobody else's, and its settings hurt nobody.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::str::FromStr;

/// An ephemeral range, both ends included.
#[derive(Clone, Copy)]
pub struct Range {
    low: u16,
    high: u16,
}

/// The smallest range worth exhausting.
pub const FOUR_PORTS: Range = Range { low: 40_000, high: 40_003 };

impl FromStr for Range {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (low, high) = text.split_once('-').context("expected LOW-HIGH")?;
        let range = Self { low: low.parse()?, high: high.parse()? };
        ensure!(range.low <= range.high, "LOW is above HIGH");
        Ok(range)
    }
}

/// Moves this (still single-threaded) process into a new namespace with the loopback up.
pub fn enter_new(range: Option<Range>) -> Result<()> {
    // SAFETY: unshare takes flags and touches no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error()).context("a new network namespace (needs root)");
    }
    raise_loopback().context("bringing the loopback up")?;
    // A server that is slow for a moment must not cost a client its SYN and a second of waiting.
    set("net/core/somaxconn", "65535")?;
    if let Some(Range { low, high }) = range {
        set("net/ipv4/ip_local_port_range", &format!("{low} {high}"))?;
    }
    Ok(())
}

/// Changes a setting of this process's namespace.
pub fn set(sysctl: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{sysctl}");
    fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))
}

fn raise_loopback() -> io::Result<()> {
    // Any socket of the namespace will do; port 9 asks for no ephemeral port.
    let socket = UdpSocket::bind("0.0.0.0:9")?;
    // SAFETY: ifreq is plain data for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP.try_into().map_err(io::Error::other)?;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

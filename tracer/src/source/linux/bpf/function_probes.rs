//! Function probes: tried at load, then tested.
//!
//! They show what no tracepoint does, and many kernels refuse them. Where one attaches that proves
//! nothing: a compiler may have copied the function into its caller. So sockets of our own go through
//! every path, before anything else is attached, and a probe that is not run where it should be is off.

use crate::event::Hook;
use crate::source::linux::bpf::refusal::explain;
use aya::maps::{Array, MapError};
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf};
use portleak_ebpf::{control, function};
use rustix::net::sockopt::socket_cookie;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// A probe, named after its function, and its place in the probes' count of runs.
struct Function {
    name: &'static str,
    index: u32,
}

/// `udp_lib_get_port`: UDP ports being found, or not.
pub const UDP_GET_PORT: &str = "udp_lib_get_port";
/// `inet_csk_get_port`: binds of TCP that find no port.
pub const TCP_GET_PORT: &str = "inet_csk_get_port";
/// `udp_lib_unhash`: the kernel's own UDP sockets being closed.
pub const UDP_UNHASH: &str = "udp_lib_unhash";
/// `__udp_disconnect`: UDP ports being given back without a close.
pub const UDP_DISCONNECT: &str = "__udp_disconnect";

const FUNCTIONS: [Function; 4] = [
    Function { name: UDP_UNHASH, index: function::UDP_LIB_UNHASH },
    Function { name: UDP_DISCONNECT, index: function::UDP_DISCONNECT },
    Function { name: UDP_GET_PORT, index: function::UDP_LIB_GET_PORT },
    Function { name: TCP_GET_PORT, index: function::INET_CSK_GET_PORT },
];

/// Something to do with a socket of our own, and the probe that must be run for it.
struct Path {
    what: &'static str,
    function: &'static str,
    kind: SocketType,
    act: fn(OwnedFd, IpAddr),
}

const PATHS: [Path; 6] = [
    Path { what: "a TCP bind", function: TCP_GET_PORT, kind: SocketType::STREAM, act: bind },
    Path { what: "a UDP bind", function: UDP_GET_PORT, kind: SocketType::DGRAM, act: bind },
    Path { what: "a UDP connect", function: UDP_GET_PORT, kind: SocketType::DGRAM, act: connect },
    Path { what: "a UDP send", function: UDP_GET_PORT, kind: SocketType::DGRAM, act: send },
    Path { what: "a UDP disconnect", function: UDP_DISCONNECT, kind: SocketType::DGRAM, act: disconnect },
    Path { what: "a UDP close", function: UDP_UNHASH, kind: SocketType::DGRAM, act: bind },
];

/// Attaches those that this kernel permits and runs when it should; detaches others.
pub fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Vec<Hook> {
    let mut hooks: Vec<_> = FUNCTIONS
        .iter()
        .map(|Function { name, .. }| Hook {
            name: (*name).to_owned(),
            off_because: load(ebpf, name, btf).err().map(|error| explain(&error)),
        })
        .collect();
    for (hook, function) in hooks.iter_mut().zip(FUNCTIONS).filter(|(hook, _)| hook.off_because.is_none()) {
        hook.off_because = test(ebpf, &function);
        if hook.off_because.is_some() {
            unload(ebpf, function.name);
        }
    }
    hooks
}

fn load(ebpf: &mut Ebpf, name: &str, btf: &Btf) -> Result<(), ProgramError> {
    match ebpf.program_mut(name) {
        Some(Program::FEntry(program)) => {
            program.load(name, btf)?;
            program.attach().map(drop)
        }
        Some(Program::FExit(program)) => {
            program.load(name, btf)?;
            program.attach().map(drop)
        }
        _ => Err(ProgramError::NotLoaded),
    }
}

fn unload(ebpf: &mut Ebpf, name: &str) {
    let unloaded = match ebpf.program_mut(name) {
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::FExit(program)) => program.unload(),
        _ => Ok(()),
    };
    if let Err(error) = unloaded {
        log::debug!("{name}: {error}");
    }
}

/// Why a probe that is attached is of no use, if so.
fn test(ebpf: &mut Ebpf, function: &Function) -> Option<String> {
    for path in PATHS.iter().filter(|path| path.function == function.name) {
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            match runs_for(ebpf, function, path, address) {
                Ok(true) => {}
                Ok(false) => return Some(format!("the self-test did not see it fire for {}", path.what)),
                Err(error) => return Some(format!("it could not be tested: {error}")),
            }
        }
    }
    None
}

/// Whether a probe is run for what is done with a socket of our own. What becomes of that does not
/// matter: without a network, or without a port, the function is called all the same.
fn runs_for(ebpf: &mut Ebpf, function: &Function, path: &Path, address: IpAddr) -> Result<bool, MapError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let Ok(socket) = net::socket_with(family, path.kind, SocketFlags::CLOEXEC, None) else {
        return Ok(true); // No such sockets here.
    };
    let cookie = socket_cookie(&socket).map_err(|error| MapError::IoError(error.into()))?;
    let before = runs(ebpf, function)?;
    set_tested(ebpf, cookie)?;
    (path.act)(socket, address);
    set_tested(ebpf, 0)?;
    Ok(runs(ebpf, function)? != before)
}

/// The probes compare one half of the cookie.
fn set_tested(ebpf: &mut Ebpf, cookie: u64) -> Result<(), MapError> {
    let map = ebpf.map_mut("CONTROL").ok_or_else(|| missing("CONTROL"))?;
    let half = u32::try_from(cookie & u64::from(u32::MAX)).unwrap_or_default();
    Array::<_, u32>::try_from(map)?.set(control::SELF_TEST, half, 0)
}

fn runs(ebpf: &Ebpf, function: &Function) -> Result<u32, MapError> {
    let map = ebpf.map("RUNS").ok_or_else(|| missing("RUNS"))?;
    Array::<_, u32>::try_from(map)?.get(&function.index, 0)
}

fn missing(name: &str) -> MapError {
    MapError::InvalidName { name: name.to_owned() }
}

/// The closing is part of it.
fn bind(socket: OwnedFd, address: IpAddr) {
    let _ = net::bind(&socket, &SocketAddr::new(address, 0));
}

/// To the discard port; a UDP connect sends nothing.
fn connect(socket: OwnedFd, address: IpAddr) {
    let _ = net::connect(&socket, &SocketAddr::new(address, 9));
}

/// To port 0, which is refused after a port was found for the socket.
fn send(socket: OwnedFd, address: IpAddr) {
    let _ = net::sendto(&socket, b"", SendFlags::empty(), &SocketAddr::new(address, 0));
}

fn disconnect(socket: OwnedFd, address: IpAddr) {
    let _ = net::connect(&socket, &SocketAddr::new(address, 9));
    let _ = net::connect_unspec(&socket);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_tested_and_counted_by_itself() {
        let mut places: Vec<_> = FUNCTIONS.iter().map(|function| function.index).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..function::COUNT));
        for function in &FUNCTIONS {
            assert!(PATHS.iter().any(|path| path.function == function.name), "{}", function.name);
        }
        for path in &PATHS {
            assert!(FUNCTIONS.iter().any(|function| function.name == path.function), "{}", path.what);
        }
    }
}

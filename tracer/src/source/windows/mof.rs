//! The MOF events of the kernel logger: traffic, processes, images, services.
//!
//! Their layouts are those of the MOF classes `TcpIp`, `UdpIp`, `Process`, `Image` and `SystemConfig`
//! (Microsoft Learn, "NT Kernel Logger Trace Session").

use super::bytes::Bytes;
use super::decoded_event::{
    DecodedEvent, Image, Process, ProcessLife, Service, Traffic, TrafficKind, Unreadable,
};
use super::guid;
use super::record::Record;
use crate::event::Protocol;
use std::net::SocketAddr;

/// Decodes a MOF event; `None` when it is not used.
pub(super) fn decode(record: &Record<'_>) -> Option<Result<DecodedEvent, Unreadable>> {
    match record.provider {
        guid::MOF_TCP => traffic(record, Protocol::Tcp, tcp_kind(record.opcode)?),
        guid::MOF_UDP => traffic(record, Protocol::Udp, udp_kind(record.opcode)?),
        guid::MOF_PROCESS => process(record, process_life(record.opcode)?),
        guid::MOF_IMAGE if matches!(record.opcode, 3 | 4 | 10) => image(record),
        guid::MOF_CONFIG if record.opcode == 15 => service(record),
        _ => return None,
    }
    .into()
}

/// The opcodes of IPv6 are those of IPv4 plus 16.
const V6: u8 = 16;

fn tcp_kind(opcode: u8) -> Option<TrafficKind> {
    let of_v4 = if opcode >= 10 + V6 { opcode - V6 } else { opcode };
    match of_v4 {
        10 => Some(TrafficKind::Sent),
        11 => Some(TrafficKind::Received),
        12 => Some(TrafficKind::Connected),
        13 => Some(TrafficKind::Disconnected),
        15 => Some(TrafficKind::Accepted),
        _ => None, // Retransmissions, copies, failures without an address.
    }
}

fn udp_kind(opcode: u8) -> Option<TrafficKind> {
    match opcode {
        10 | 26 => Some(TrafficKind::Sent),
        11 | 27 => Some(TrafficKind::Received),
        _ => None,
    }
}

fn process_life(opcode: u8) -> Option<ProcessLife> {
    match opcode {
        1 => Some(ProcessLife::Started),
        2 => Some(ProcessLife::Ended),
        3 | 4 => Some(ProcessLife::Exists),
        _ => None,
    }
}

/// The payload, if its version is known. Newer versions of these classes have only ever appended fields.
fn known<'a>(record: &Record<'a>, first: u8) -> Result<Bytes<'a>, Unreadable> {
    if record.version < first { Err(Unreadable::Layout) } else { Ok(Bytes(record.payload)) }
}

fn traffic(record: &Record<'_>, protocol: Protocol, kind: TrafficKind) -> Result<DecodedEvent, Unreadable> {
    let mut bytes = known(record, 1)?;
    let v6 = record.opcode >= 10 + V6;
    let read = |bytes: &mut Bytes<'_>| {
        let pid = bytes.u32()?;
        let _size = bytes.u32()?;
        let mut ip = || if v6 { bytes.ipv6() } else { bytes.ipv4() };
        let (to, from) = (ip()?, ip()?);
        let (to_port, from_port) = (bytes.u16_be()?, bytes.u16_be()?);
        let (to, from) = (SocketAddr::new(to, to_port), SocketAddr::new(from, from_port));
        // TCP reports the connection as seen from here, UDP the direction of the datagram.
        let inward = (protocol, kind) == (Protocol::Udp, TrafficKind::Received);
        let (local, remote) = if inward { (to, from) } else { (from, to) };
        Some(DecodedEvent::Traffic(Traffic { protocol, kind, pid, local, remote }))
    };
    read(&mut bytes).ok_or(Unreadable::Short)
}

fn process(record: &Record<'_>, life: ProcessLife) -> Result<DecodedEvent, Unreadable> {
    let mut bytes = known(record, 1)?;
    let read = |bytes: &mut Bytes<'_>| {
        bytes.pointer(record.pointer)?; // Its key, or its page directory.
        let (pid, parent) = (bytes.u32()?, bytes.u32()?);
        let (_session, _status) = (bytes.u32()?, bytes.u32()?);
        if record.version >= 3 {
            bytes.pointer(record.pointer)?;
        }
        if record.version >= 4 {
            bytes.u32()?;
        }
        skip_user(bytes, record.pointer)?;
        let image = bytes.narrow();
        let command = if record.version >= 2 { bytes.wide() } else { String::new() };
        Some(DecodedEvent::Process(Process {
            life,
            pid,
            parent: Some(parent),
            parent_start_key: None,
            created: None,
            start_key: None,
            image: Some(image).filter(|image| !image.is_empty()),
            command: Some(command).filter(|command| !command.is_empty()),
        }))
    };
    read(&mut bytes).ok_or(Unreadable::Short)
}

/// Skips a `TOKEN_USER`: zero, or two pointers and a security identifier.
fn skip_user(bytes: &mut Bytes<'_>, pointer: u8) -> Option<()> {
    let mut ahead = *bytes;
    if ahead.u32()? == 0 {
        *bytes = ahead;
        return Some(());
    }
    bytes.take(2 * usize::from(pointer))?;
    bytes.skip_sid()
}

fn image(record: &Record<'_>) -> Result<DecodedEvent, Unreadable> {
    let mut bytes = known(record, 2)?;
    let read = |bytes: &mut Bytes<'_>| {
        let (base, size) = (bytes.pointer(record.pointer)?, bytes.pointer(record.pointer)?);
        let pid = bytes.u32()?;
        bytes.take(12)?; // Checksum, time stamp, how it was signed.
        bytes.pointer(record.pointer)?;
        bytes.take(16)?;
        Some(DecodedEvent::Image(Image { base, size, pid, path: bytes.wide() }))
    };
    read(&mut bytes).ok_or(Unreadable::Short)
}

fn service(record: &Record<'_>) -> Result<DecodedEvent, Unreadable> {
    let mut bytes = known(record, 2)?;
    let read = |bytes: &mut Bytes<'_>| {
        let (pid, _state, _tag) = (bytes.u32()?, bytes.u32()?, bytes.u32()?);
        Some(DecodedEvent::Service(Service { pid, name: bytes.wide() }))
    };
    read(&mut bytes).ok_or(Unreadable::Short)
}

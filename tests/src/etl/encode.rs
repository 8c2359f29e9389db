//! Payloads of manifest events, as the layouts have them.

use portleak::source::windows::guid::Guid;
use portleak::source::windows::layout::{Field, Kind, Layout, layouts};
use std::net::SocketAddr;

/// Releases of Windows whose layouts differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    Win7,
    Win10V1607,
    Win10V2004,
    Win11V21H2,
    Win11V23H2,
}

pub const RELEASES: [Release; 5] =
    [Release::Win7, Release::Win10V1607, Release::Win10V2004, Release::Win11V21H2, Release::Win11V23H2];

impl Release {
    pub fn build(self) -> u32 {
        match self {
            Self::Win7 => 7_601,
            Self::Win10V1607 => 14_393,
            Self::Win10V2004 => 19_041,
            Self::Win11V21H2 => 22_000,
            Self::Win11V23H2 => 22_631,
        }
    }

    /// The release that first had a version of an event.
    fn first_with(layout: &Layout) -> Self {
        match (layout.id, layout.version) {
            (1391 | 1394 | 1396..=1398, 0) => Self::Win10V1607,
            (1519, _) => Self::Win11V21H2,
            (_, 0) => Self::Win7,
            (1006 | 1008 | 1009, 1) | (1013 | 1300, 2) => Self::Win11V21H2,
            (1396, 1) | (1300, 3) => Self::Win11V23H2,
            _ => Self::Win10V2004,
        }
    }
}

/// A field's value; those that are not given are zero.
#[derive(Clone, Debug)]
pub enum Value {
    Number(u64),
    Address(SocketAddr),
    Text(String),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<SocketAddr> for Value {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// The layout that a release writes an event in; `None` when it does not have the event.
pub fn layout(provider: Guid, id: u16, release: Release) -> Option<&'static Layout> {
    let of_release = |layout: &&Layout| layout.id == id && Release::first_with(layout) <= release;
    layouts(provider).iter().rfind(of_release)
}

pub fn payload(layout: &Layout, values: &[(Field, Value)]) -> Vec<u8> {
    let value = |field: Field| values.iter().find(|(of, _)| *of == field).map(|(_, value)| value);
    let mut bytes = Vec::new();
    for (at, &field) in layout.fields.iter().enumerate() {
        let number = match value(field) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        };
        let of_address = layout.fields.get(at + 1).filter(|next| next.kind() == Kind::Address);
        match (field.kind(), value(field)) {
            (Kind::U16, _) => bytes.extend(u16::try_from(number).expect("16 bits").to_le_bytes()),
            (Kind::U32, _) => {
                let number = match of_address.filter(|_| field == Field::Length) {
                    Some(next) => address(value(*next)).len() as u64,
                    None => number,
                };
                bytes.extend(u32::try_from(number).expect("32 bits").to_le_bytes());
            }
            (Kind::U64 | Kind::Time | Kind::Pointer, _) => bytes.extend(number.to_le_bytes()),
            (Kind::Address, value) => bytes.extend(address(value)),
            (Kind::Sid, _) => bytes.extend([1, 1, 0, 0, 0, 0, 0, 16, 0, 0x30, 0, 0]),
            (Kind::Text, Some(Value::Text(text))) => bytes.extend(wide(text)),
            (Kind::Text, _) => bytes.extend([0, 0]),
        }
    }
    bytes
}

/// A `SOCKADDR`; of no address, nothing.
fn address(value: Option<&Value>) -> Vec<u8> {
    let Some(Value::Address(address)) = value else {
        return Vec::new();
    };
    let mut bytes = vec![if address.is_ipv4() { 2 } else { 23 }, 0];
    bytes.extend(address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend(v4.ip().octets());
            bytes.resize(16, 0);
        }
        SocketAddr::V6(v6) => {
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.resize(28, 0);
        }
    }
    bytes
}

/// A text in UTF-16 with its zero.
pub fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

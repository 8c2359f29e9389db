//! Values that records refer to by number. Each is defined once per block, before its first use.

use super::field::{Decoder, Encoder, Field, Undecodable};
use crate::event::{NetNs, OwnerId, PoolId, PortRange, ProcessId, ProgramId, Protocol, SiteId};
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Tag of the record with the base of the hold ids.
pub(super) const HOLD_BASE: u8 = 1;

/// A value that is defined once in a block.
pub(super) trait Defined: Clone + Eq + Hash {
    /// Tag of the record that defines one.
    const TAG: u8;
    /// The numbers assigned so far.
    fn numbered(all: &mut Numbered) -> &mut FxHashMap<Self, u32>;
    /// The values defined so far; `None` for one of a later version.
    fn known(all: &Tables) -> &[Option<Self>];
    /// Appends the value itself.
    fn put_whole(&self, to: &mut Encoder);
    /// Takes the value itself.
    fn take_whole(from: &mut Decoder<'_>) -> Result<Self, Undecodable>;
}

impl<T: Defined> Field for T {
    fn put(&self, to: &mut Encoder) {
        to.refer(self);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        from.refer()
    }
}

/// The tables by type: tag of the defining record, name, type.
macro_rules! tables {
    ($($tag:literal $name:ident: $type:ty,)*) => {
        /// The values that the writer has numbered in this block.
        #[derive(Debug, Default)]
        pub(super) struct Numbered { $($name: FxHashMap<$type, u32>,)* }

        impl Numbered {
            pub(super) fn clear(&mut self) {
                $(self.$name.clear();)*
            }
        }

        /// The values that the reader has found in this block.
        #[derive(Debug, Default)]
        pub(super) struct Tables {
            /// Base of the hold ids.
            pub(super) hold_base: u64,
            $($name: Vec<Option<$type>>,)*
        }

        impl Tables {
            pub(super) fn clear(&mut self) {
                self.hold_base = 0;
                $(self.$name.clear();)*
            }

            /// Reads a record that defines a value; unknown ones are skipped.
            pub(super) fn define(&mut self, tag: u8, record: &[u8]) -> Result<(), Undecodable> {
                let mut decoder = Decoder::new(record, self);
                match tag {
                    HOLD_BASE => self.hold_base = decoder.number()?,
                    $($tag => match <$type as Defined>::take_whole(&mut decoder) {
                        Ok(value) => self.$name.push(Some(value)),
                        Err(Undecodable::Unknown) => self.$name.push(None),
                        Err(broken) => return Err(broken),
                    },)*
                    _ => {}
                }
                Ok(())
            }
        }

        $(impl Defined for $type {
            const TAG: u8 = $tag;

            fn numbered(all: &mut Numbered) -> &mut FxHashMap<Self, u32> {
                &mut all.$name
            }

            fn known(all: &Tables) -> &[Option<Self>] {
                &all.$name
            }

            fn put_whole(&self, to: &mut Encoder) {
                Whole::put(self, to);
            }

            fn take_whole(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
                Whole::take(from)
            }
        })*
    };
}

tables! {
    2 texts: Arc<str>,
    3 owners: OwnerId,
    4 pools: PoolId,
    5 ranges: PortRange,
    6 locals: IpAddr,
    7 remotes: SocketAddr,
    8 sites: SiteId,
}

/// The encoding of the value itself in its definition.
trait Whole: Sized {
    fn put(&self, to: &mut Encoder);
    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable>;
}

impl Whole for Arc<str> {
    fn put(&self, to: &mut Encoder) {
        to.raw(self.as_bytes());
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        std::str::from_utf8(from.rest()).map(Into::into).map_err(|_| Undecodable::Broken)
    }
}

impl Whole for OwnerId {
    fn put(&self, to: &mut Encoder) {
        match self {
            Self::Unowned => to.byte(0),
            Self::Process(id) => {
                to.byte(1);
                id.put(to);
            }
            Self::System { module, netns } => {
                to.byte(2);
                netns.put(to);
                module.put(to);
            }
            Self::Program(id) => {
                to.byte(3);
                id.put(to);
            }
            Self::Others(id) => {
                to.byte(4);
                id.put(to);
            }
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        Ok(match from.byte()? {
            0 => Self::Unowned,
            1 => Self::Process(ProcessId::take(from)?),
            2 => Self::System { netns: NetNs::take(from)?, module: Field::take(from)? },
            3 => Self::Program(ProgramId::take(from)?),
            4 => Self::Others(Field::take(from)?),
            _ => return Err(Undecodable::Unknown),
        })
    }
}

impl Whole for PoolId {
    fn put(&self, to: &mut Encoder) {
        self.netns.put(to);
        self.protocol.put(to);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        Ok(Self { netns: NetNs::take(from)?, protocol: Protocol::take(from)? })
    }
}

impl Whole for PortRange {
    fn put(&self, to: &mut Encoder) {
        self.low.put(to);
        self.high.put(to);
        self.reserved.put(to);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        Ok(Self { low: u16::take(from)?, high: u16::take(from)?, reserved: u32::take(from)? })
    }
}

impl Whole for IpAddr {
    fn put(&self, to: &mut Encoder) {
        match self {
            Self::V4(address) => to.raw(&address.octets()),
            Self::V6(address) => to.raw(&address.octets()),
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        let octets = from.rest();
        let v4 = <[u8; 4]>::try_from(octets).map(Self::from);
        v4.or_else(|_| <[u8; 16]>::try_from(octets).map(Self::from)).map_err(|_| Undecodable::Broken)
    }
}

impl Whole for SocketAddr {
    fn put(&self, to: &mut Encoder) {
        self.port().put(to);
        match self {
            Self::V4(address) => to.raw(&address.ip().octets()),
            Self::V6(address) => {
                to.raw(&address.ip().octets());
                address.flowinfo().put(to);
                address.scope_id().put(to);
            }
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        let port = u16::take(from)?;
        if let Ok(octets) = from.array::<16>() {
            let (flow, scope) = (u32::take(from)?, u32::take(from)?);
            return Ok(std::net::SocketAddrV6::new(octets.into(), port, flow, scope).into());
        }
        Ok((from.array::<4>()?, port).into())
    }
}

impl Whole for SiteId {
    fn put(&self, to: &mut Encoder) {
        to.raw(&self.0.get().to_le_bytes());
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        NonZeroU64::new(u64::from_le_bytes(from.array()?)).map(Self).ok_or(Undecodable::Broken)
    }
}

//! The numbers and fields of all kinds of events, and nowhere else.
//!
//! A new kind takes the next number. A new field goes last and is an `Option`: it is `None` in older
//! recordings. Numbers and the order of fields never change.

use super::field::{Decoder, Encoder, Field, Undecodable};
use crate::event::{
    Acquired, EventKind, Failed, FailureCode, Frame, HoldId, LossStage, NetNs, ProcessFacts, ProcessId,
    ProgramId, Protocol, SocketState, TimeWaitFound, Totals,
};
use std::sync::Arc;

/// Number and fields of each kind; kinds under `of` carry one struct.
macro_rules! kinds {
    ($($tag:literal $kind:ident { $($field:ident),* })* of $($of_tag:literal $of_kind:ident)*) => {
        impl EventKind {
            /// The number of its kind.
            pub(super) fn tag(&self) -> u8 {
                match self {
                    $(Self::$kind { .. } => $tag,)*
                    $(Self::$of_kind(_) => $of_tag,)*
                }
            }

            /// Appends its fields.
            pub(super) fn put(&self, to: &mut Encoder) {
                match self {
                    $(Self::$kind { $($field),* } => {
                        let _ = &to; // A kind may have no field.
                        $($field.put(to);)*
                    })*
                    $(Self::$of_kind(value) => value.put(to),)*
                }
            }

            /// Takes the fields of the kind with this number.
            pub(super) fn take(tag: u8, from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
                Ok(match tag {
                    $($tag => Self::$kind { $($field: Field::take(from)?),* },)*
                    $($of_tag => Self::$of_kind(Field::take(from)?),)*
                    _ => return Err(Undecodable::Unknown),
                })
            }
        }
    };
}

// 16 is the time mark, see `events`.
kinds! {
    17 Process { id, facts }
    18 Forked { parent, child }
    19 Exited { id }
    20 Site { id, frames }
    21 PortLearnt { hold, port }
    22 State { hold, state, remote }
    23 Released { hold }
    24 TimeWaitBegan { hold }
    25 TimeWaitEnded { hold }
    26 Moved { hold, owner }
    27 Corrected { count }
    28 Pool { pool, range }
    29 Totals { owner, protocol, totals, netns }
    30 Lost { count, stage }
    31 ResyncBegan {}
    32 ResyncEnded {}
    37 Idle { hold, idle_ns }
    38 Scarce { pool }
    39 Descendant { id }
    of
    33 Acquired
    34 Confirmed
    35 TimeWaitFound
    36 Failed
}

/// The fields of a struct, in the order in which they are written.
macro_rules! fields {
    ($($type:ident { $($field:ident),* })*) => {
        $(impl Field for $type {
            fn put(&self, to: &mut Encoder) {
                $(self.$field.put(to);)*
            }

            fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
                Ok(Self { $($field: Field::take(from)?),* })
            }
        })*
    };
}

fields! {
    ProcessId { pid, started_ticks }
    ProcessFacts { comm, exe, cmdline, uid, ppid, netns, cgroup, container, service }
    Acquired { hold, owner, pool, range, pre_existing, local, port, remote, state, site }
    TimeWaitFound { hold, pool, remote, ends_ns }
    Failed { owner, pool, code, local, remote, retracts }
    Totals { acquired, released }
    ProgramId { exe, service }
}

/// The number of each value.
macro_rules! codes {
    ($($type:ident { $($code:literal $value:ident),* })*) => {
        $(impl Field for $type {
            fn put(&self, to: &mut Encoder) {
                to.byte(match self { $(Self::$value => $code),* });
            }

            fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
                Ok(match from.byte()? {
                    $($code => Self::$value,)*
                    _ => return Err(Undecodable::Unknown),
                })
            }
        })*
    };
}

codes! {
    Protocol { 0 Tcp, 1 Udp }
    SocketState { 0 Bound, 1 Listen, 2 SynSent, 3 Connected, 4 CloseWait, 5 Closing }
    FailureCode { 0 EADDRNOTAVAIL, 1 EADDRINUSE, 2 EAGAIN, 3 WSAENOBUFS }
    LossStage { 0 Kernel, 1 Queue, 2 Decode, 3 Etw, 4 Recording, 5 Table, 6 Output }
}

impl Field for u64 {
    fn put(&self, to: &mut Encoder) {
        to.number(*self);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        from.number()
    }
}

/// Integers that are written as `u64`.
macro_rules! numbers {
    ($($type:ty)*) => {
        $(impl Field for $type {
            fn put(&self, to: &mut Encoder) {
                to.number((*self).into());
            }

            fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
                Self::try_from(from.number()?).map_err(|_| Undecodable::Broken)
            }
        })*
    };
}

numbers! { u16 u32 }

impl Field for bool {
    fn put(&self, to: &mut Encoder) {
        to.byte(u8::from(*self));
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Undecodable::Broken),
        }
    }
}

impl Field for HoldId {
    fn put(&self, to: &mut Encoder) {
        to.hold(self.0);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        from.hold().map(Self)
    }
}

impl Field for NetNs {
    fn put(&self, to: &mut Encoder) {
        self.0.put(to);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        u32::take(from).map(Self)
    }
}

/// `None` also where the record ends before it: older versions wrote no such field.
impl<T: Field> Field for Option<T> {
    fn put(&self, to: &mut Encoder) {
        to.byte(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        if from.is_empty() || !bool::take(from)? {
            return Ok(None);
        }
        T::take(from).map(Some)
    }
}

impl Field for Arc<[Frame]> {
    fn put(&self, to: &mut Encoder) {
        to.number(self.len() as u64);
        self.iter().for_each(|frame| frame.put(to));
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        (0..from.number()?).map(|_| Frame::take(from)).collect()
    }
}

impl Field for Frame {
    fn put(&self, to: &mut Encoder) {
        match self {
            Self::Address(address) => {
                to.byte(0);
                address.put(to);
            }
            Self::File { path, offset } => {
                to.byte(1);
                path.put(to);
                offset.put(to);
            }
            Self::Named { name, module } => {
                to.byte(2);
                name.put(to);
                module.put(to);
            }
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable> {
        Ok(match from.byte()? {
            0 => Self::Address(Field::take(from)?),
            1 => Self::File { path: Field::take(from)?, offset: Field::take(from)? },
            2 => Self::Named { name: Field::take(from)?, module: Field::take(from)? },
            _ => return Err(Undecodable::Unknown),
        })
    }
}

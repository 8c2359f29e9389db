//! The values of a record's fields.

use super::{FIELDS, Field, Kind};
use crate::source::windows::bytes::{Bytes, socket_address};
use crate::source::windows::decoded_event::Unreadable;
use crate::source::windows::record::Record;
use std::net::SocketAddr;

/// The values of one record. Fields that its layout lacks are zero or `None`.
#[derive(Clone, Debug)]
pub(super) struct Values {
    numbers: [u64; FIELDS],
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) image: Option<String>,
    has_start_key: bool,
    has_endpoint: bool,
}

impl Values {
    pub(super) fn read(fields: &[Field], record: &Record<'_>) -> Result<Self, Unreadable> {
        let mut values = Self {
            numbers: [0; FIELDS],
            local: None,
            remote: None,
            image: None,
            has_start_key: fields.contains(&Field::StartKey),
            has_endpoint: fields.contains(&Field::Endpoint),
        };
        let mut bytes = Bytes(record.payload);
        for &field in fields {
            values.take(field, &mut bytes, record.pointer).ok_or(Unreadable::Short)?;
        }
        Ok(values)
    }

    fn take(&mut self, field: Field, bytes: &mut Bytes<'_>, pointer: u8) -> Option<()> {
        let number = match field.kind() {
            Kind::U16 => bytes.u16()?.into(),
            Kind::U32 => bytes.u32()?.into(),
            Kind::U64 | Kind::Time => bytes.u64()?,
            Kind::Pointer => bytes.pointer(pointer)?,
            Kind::Address => {
                let length = usize::try_from(self.number(Field::Length)).ok()?;
                let address = socket_address(bytes.take(length)?);
                match field {
                    Field::Local => self.local = address,
                    _ => self.remote = address,
                }
                return Some(());
            }
            Kind::Sid => return bytes.skip_sid(),
            Kind::Text => {
                self.image = Some(bytes.wide()).filter(|text| !text.is_empty());
                return Some(());
            }
        };
        self.numbers[field as usize] = number;
        Some(())
    }

    pub(super) fn number(&self, field: Field) -> u64 {
        self.numbers[field as usize]
    }

    /// A number of at most 32 bits, or a process id in the width of a pointer.
    pub(super) fn u32(&self, field: Field) -> u32 {
        u32::try_from(self.number(field)).unwrap_or(0)
    }

    pub(super) fn u16(&self, field: Field) -> u16 {
        u16::try_from(self.number(field)).unwrap_or(0)
    }

    pub(super) fn endpoint(&self) -> Option<u64> {
        self.has_endpoint.then(|| self.number(Field::Endpoint))
    }

    /// A key of 0 is unset.
    pub(super) fn start_key(&self) -> Option<u64> {
        let key = self.number(Field::StartKey);
        (self.has_start_key && key != 0).then_some(key)
    }
}

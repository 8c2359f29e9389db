//! Microsoft-Windows-Kernel-Process: processes start, exist, and stop.

use super::Field::{
    CreateTime, Elevated, Elevation, Flags, Image, ParentProcessId, ParentStartKey, ProcessId, SessionId,
    Sid, StartKey,
};
use super::values::Values;
use super::{Field, Layout};
use crate::source::windows::decoded_event::{DecodedEvent, Process, ProcessLife};

const START: &[Field] = &[ProcessId, CreateTime, ParentProcessId, SessionId, Image];
const START_1: &[Field] = &[ProcessId, CreateTime, ParentProcessId, SessionId, Flags, Image];
const START_3: &[Field] = &[
    ProcessId,
    StartKey,
    CreateTime,
    ParentProcessId,
    ParentStartKey,
    SessionId,
    Flags,
    Elevation,
    Elevated,
    Sid,
    Image,
];
const STOP: &[Field] = &[ProcessId, CreateTime];
const STOP_2: &[Field] = &[ProcessId, StartKey, CreateTime];

const fn layout(id: u16, version: u8, fields: &'static [Field]) -> Layout {
    Layout { id, version, fields }
}

pub(super) const LAYOUTS: &[Layout] = &[
    layout(1, 0, START),
    layout(1, 1, START_1),
    layout(1, 2, START_1),
    layout(1, 3, START_3),
    layout(1, 4, START_3),
    layout(1, 5, START_3),
    layout(2, 0, STOP),
    layout(2, 1, STOP),
    layout(2, 2, STOP_2),
    layout(15, 0, START_1),
    layout(15, 1, START_3),
    layout(15, 2, START_3),
    layout(15, 3, START_3),
];

/// The event `id` with these values; `id` is one of those above.
pub(super) fn event(id: u16, values: Values) -> DecodedEvent {
    let life = match id {
        1 => ProcessLife::Started,
        2 => ProcessLife::Ended,
        _ => ProcessLife::Exists,
    };
    DecodedEvent::Process(Process {
        life,
        pid: values.u32(ProcessId),
        parent: Some(values.u32(ParentProcessId)).filter(|_| life != ProcessLife::Ended),
        parent_start_key: Some(values.number(ParentStartKey)).filter(|&key| key != 0),
        created: Some(values.number(CreateTime)).filter(|&created| created != 0),
        start_key: values.start_key(),
        image: values.image,
        command: None,
    })
}

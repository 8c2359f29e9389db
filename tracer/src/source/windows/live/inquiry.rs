//! What the source asks Windows for while it traces, beside the records.
//!
//! Each inquiry may block: `netsh` is a program that has to start, and a list of many sockets takes
//! its time. So every inquiry runs on a worker, and its answer arrives in one of the next polls.

use crate::source::windows::decoded_event::Service;
use crate::source::windows::inventory::Row;
use crate::source::windows::inventory::ranges::Ranges;
use crate::source::windows::model::Drivers;
use std::fmt;

/// An inquiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// How much the session has lost since it began.
    Losses,
    /// The open sockets. The session then delivers the records that its buffers hold.
    Sockets,
    /// The kernel's images.
    Drivers,
    /// The settings that no record reports: services and port ranges.
    Settings,
}

impl fmt::Display for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Losses => "the losses of the session",
            Self::Sockets => "the open sockets",
            Self::Drivers => "the drivers",
            Self::Settings => "the services and port ranges",
        })
    }
}

/// The answer to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Events and buffers lost since the session began; `None` when Windows does not report them.
    Losses(Option<u64>),
    /// The open sockets.
    Sockets(SocketList),
    /// The kernel's images.
    Drivers(Drivers),
    /// Services and port ranges.
    Settings(Settings),
}

/// The sockets that Windows listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketList {
    /// When the listing began, in nanoseconds since boot.
    pub at_ns: u64,
    /// When the listing ended.
    pub done_ns: u64,
    /// The listed sockets.
    pub rows: Vec<Row>,
}

/// Settings that may change during a trace, and that no record reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The services and their processes; `None` when they could not be listed.
    pub services: Option<Vec<Service>>,
    /// The port ranges.
    pub ranges: Ranges,
}

//! The names that are known, and the requests for more.
//!
//! One table behind one lock. Callers wait in [`Symbols::names`] and [`Symbols::wait_all`] only, and
//! there for a bounded time.

use super::files::Files;
use super::worker::{self, Worker};
use super::{Name, Names, Place, ReadNames, origin, unnamed};
use crate::event::Frame;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Places whose names are kept; those of others are shown by module and offset.
const PLACES_MAX: usize = 65_536;
/// How long a name that is to be shown is waited for, from its first request on.
const NAME_MAX: Duration = Duration::from_secs(2);
/// A worker that reads one place for longer than this is abandoned.
const READ_MAX: Duration = Duration::from_secs(5);
/// Abandoned workers at once. With so many stuck, nothing is read any more.
const ABANDONED_MAX: usize = 4;

/// Names of frames, shared by sinks and recorder.
#[derive(Clone, Debug)]
pub struct Symbols(Arc<Shared>);

/// What the handles and the workers share.
pub(super) struct Shared {
    table: Mutex<Table>,
    /// A name was found, or something was requested.
    changed: Condvar,
    /// What a worker reads with; `None` when all names were recorded.
    reader: Option<fn() -> Box<dyn ReadNames>>,
    read_max: Duration,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbols").field("table", &*self.lock()).finish_non_exhaustive()
    }
}

/// How a request stands.
#[derive(Debug)]
enum Known {
    /// A worker will read it, or is reading it. Since when it is to be shown; `None` if it is only
    /// kept for later.
    Requested(Option<Instant>),
    /// `None` when the file has no symbol for it.
    Read(Option<Vec<Name>>),
}

#[derive(Debug, Default)]
pub(super) struct Table {
    places: FxHashMap<Place, Known>,
    /// Places with names, in the order in which they were read.
    found: Vec<Place>,
    /// Requests for what is about to be shown, and for what is kept for later.
    urgent: VecDeque<Place>,
    later: VecDeque<Place>,
    worker: Worker,
    /// Files that an abandoned worker is still stuck in.
    stuck: FxHashSet<Arc<str>>,
    /// Places that had to be shown without their name.
    missed: FxHashSet<Place>,
    /// The latest instant until which callers wait; set at the end.
    ends: Option<Instant>,
}

impl Default for Symbols {
    /// Names from the files of this machine.
    fn default() -> Self {
        Self::read_by(|| Box::new(Files::default()), READ_MAX)
    }
}

impl Symbols {
    /// Names as they were recorded: the files may be on another machine, or others by now.
    #[must_use]
    pub fn recorded(names: Names) -> Self {
        let read = |(place, names)| (place, Known::Read(Some(names)));
        let table = Table { places: names.into_iter().map(read).collect(), ..Table::default() };
        Self::with(table, None, READ_MAX)
    }

    /// Names by another reader, which is abandoned when it takes longer than `read_max`.
    pub(super) fn read_by(reader: fn() -> Box<dyn ReadNames>, read_max: Duration) -> Self {
        Self::with(Table::default(), Some(reader), read_max)
    }

    fn with(table: Table, reader: Option<fn() -> Box<dyn ReadNames>>, read_max: Duration) -> Self {
        Self(Arc::new(Shared { table: Mutex::new(table), changed: Condvar::new(), reader, read_max }))
    }

    /// Requests names that are about to be shown. Never waits.
    pub fn request(&self, frames: &[Frame]) {
        self.enqueue(frames, Some(Instant::now()));
    }

    /// Requests names that may be wanted later. Never waits.
    pub fn prefetch(&self, frames: &[Frame]) {
        self.enqueue(frames, None);
    }

    fn enqueue(&self, frames: &[Frame], shown: Option<Instant>) {
        if self.0.reader.is_none() {
            return;
        }
        let mut table = self.0.lock();
        places(frames).for_each(|place| table.request(place, shown));
        self.0.keep_working(&mut table);
        drop(table);
        self.0.changed.notify_all();
    }

    /// The frames' names, innermost first; more than frames where functions were inlined. Waits a
    /// little for those that are still being read: what is not read by then is shown by module and
    /// offset, and counts as missed.
    #[must_use]
    pub fn names(&self, frames: &[Frame]) -> Vec<Name> {
        self.request(frames);
        let wanted: Vec<_> = places(frames).collect();
        let mut table = self.0.lock();
        for place in wanted {
            let deadline = table.shown_by(&place);
            let in_time;
            (table, in_time) = self.0.wait(table, deadline, |table| !table.is_open(&place));
            if !in_time {
                table.missed.insert(place);
            }
        }
        frames.iter().flat_map(|frame| table.frame(frame)).collect()
    }

    /// Waits until nothing is requested any more, at most until `deadline`.
    pub fn wait_all(&self, deadline: Instant) {
        let is_done = |table: &Table| !table.has_requests() && table.worker.reading().is_none();
        drop(self.0.wait(self.0.lock(), deadline, is_done));
    }

    /// From now on no caller waits beyond `deadline`.
    pub fn end_by(&self, deadline: Instant) {
        self.0.lock().ends = Some(deadline);
        self.0.changed.notify_all();
    }

    /// Names that were found since the last call with this `seen`, which begins at 0.
    #[must_use]
    pub fn found_since(&self, seen: &mut usize) -> Vec<(Place, Vec<Name>)> {
        let table = self.0.lock();
        let new = table.found.get(*seen..).unwrap_or_default();
        *seen = table.found.len();
        let named = |place: &Place| Some((place.clone(), table.names(place)?.clone()));
        new.iter().filter_map(named).collect()
    }

    /// How many places were shown without a name that was still being read, and how many workers
    /// are stuck in a file.
    #[must_use]
    pub fn missed(&self) -> (u64, u64) {
        let table = self.0.lock();
        let missed = table.missed.iter().filter(|place| table.names(place).is_none()).count();
        (missed as u64, table.worker.abandoned() as u64)
    }
}

/// The frames that are in files.
fn places(frames: &[Frame]) -> impl Iterator<Item = Place> {
    frames.iter().filter_map(|frame| match frame {
        Frame::File { path, offset } => Some((Arc::clone(path), *offset)),
        Frame::Named { .. } | Frame::Address(_) => None,
    })
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`; false if the deadline came first.
    fn wait<'a>(
        self: &'a Arc<Self>,
        mut table: MutexGuard<'a, Table>,
        deadline: Instant,
        done: impl Fn(&Table) -> bool,
    ) -> (MutexGuard<'a, Table>, bool) {
        loop {
            if done(&table) {
                return (table, true);
            }
            self.keep_working(&mut table);
            let now = Instant::now();
            let end = table.ends.map_or(deadline, |ends| ends.min(deadline));
            if now >= end || !table.worker.is_running() {
                return (table, false);
            }
            // No later than a read is due, the one in progress or the next.
            let due = table.worker.reading().map_or(now, |(_, began)| *began) + self.read_max;
            let pause = due.clamp(now, end).saturating_duration_since(now).max(Duration::from_millis(1));
            table = self
                .changed
                .wait_timeout(table, pause)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(table, _)| table);
        }
    }

    /// Abandons a worker that is stuck, and starts one when there is something to read.
    fn keep_working(self: &Arc<Self>, table: &mut Table) {
        let is_stuck = |(_, began): &(Place, Instant)| began.elapsed() > self.read_max;
        if let Some((place, _)) = table.worker.reading().filter(|reading| is_stuck(reading)).cloned() {
            log::warn!("{}: reading its symbols takes too long: its functions are not named", place.0);
            table.stuck.insert(Arc::clone(&place.0));
            table.close(place, None);
            table.worker.abandon();
        }
        if let Some(reader) = self.reader
            && table.has_requests()
            && !table.worker.is_running()
            && table.worker.abandoned() < ABANDONED_MAX
        {
            table.worker.start(|generation| worker::start(Arc::clone(self), generation, reader));
        }
    }

    /// The next place that worker `generation` is to read. It waits for one, at most for `idle`;
    /// `None` ends the worker.
    pub(super) fn next(&self, generation: u64, idle: Duration) -> Option<Place> {
        let mut table = self.lock();
        while table.worker.is_current(generation) {
            if let Some(place) = table.take_request() {
                table.worker.begins(place.clone());
                return Some(place);
            }
            let (again, waited) = match self.changed.wait_timeout(table, idle) {
                Ok((table, waited)) => (table, waited.timed_out()),
                Err(poisoned) => (poisoned.into_inner().0, true),
            };
            table = again;
            if waited && !table.has_requests() {
                table.worker.ends(generation);
            }
        }
        None
    }

    /// Worker `generation` has read a place. An abandoned worker is no longer stuck, and its result is
    /// used.
    pub(super) fn has_read(&self, generation: u64, place: Place, names: Option<Vec<Name>>) {
        let mut table = self.lock();
        if !table.worker.finished(generation) {
            table.stuck.remove(&place.0);
        }
        table.close(place, names);
        drop(table);
        self.changed.notify_all();
    }
}

impl Table {
    /// Enters a request, unless it is known or there is no room. One that is to be shown overtakes
    /// those that are kept for later.
    fn request(&mut self, place: Place, shown: Option<Instant>) {
        let is_full = self.places.len() >= PLACES_MAX;
        match self.places.get_mut(&place) {
            Some(Known::Requested(since)) if since.is_none() && shown.is_some() => *since = shown,
            Some(_) => return,
            None if is_full => return,
            None => _ = self.places.insert(place.clone(), Known::Requested(shown)),
        }
        // It may be in both queues now; the worker passes over what it has read.
        if shown.is_some() { self.urgent.push_back(place) } else { self.later.push_back(place) }
    }

    fn has_requests(&self) -> bool {
        !self.urgent.is_empty() || !self.later.is_empty()
    }

    /// Until when the name of `place` is waited for.
    fn shown_by(&self, place: &Place) -> Instant {
        match self.places.get(place) {
            Some(Known::Requested(Some(since))) => *since + NAME_MAX,
            _ => Instant::now(),
        }
    }

    /// The next request that is still open and not in a file that is stuck.
    fn take_request(&mut self) -> Option<Place> {
        while let Some(place) = self.urgent.pop_front().or_else(|| self.later.pop_front()) {
            if !self.is_open(&place) {
                continue;
            }
            if !self.stuck.contains(&place.0) {
                return Some(place);
            }
            self.close(place, None);
        }
        None
    }

    fn is_open(&self, place: &Place) -> bool {
        matches!(self.places.get(place), Some(Known::Requested(_)))
    }

    fn close(&mut self, place: Place, names: Option<Vec<Name>>) {
        if names.is_some() {
            self.found.push(place.clone());
        } else if self.stuck.contains(&place.0) {
            self.missed.insert(place.clone());
        }
        self.places.insert(place, Known::Read(names));
    }

    fn names(&self, place: &Place) -> Option<&Vec<Name>> {
        match self.places.get(place)? {
            Known::Read(names) => names.as_ref(),
            Known::Requested(_) => None,
        }
    }

    fn frame(&self, frame: &Frame) -> Vec<Name> {
        match frame {
            Frame::File { path, offset } => {
                let known = self.names(&(Arc::clone(path), *offset));
                known.cloned().unwrap_or_else(|| vec![unnamed(path, *offset)])
            }
            Frame::Named { name, module } => {
                let module = module.as_ref().map(ToString::to_string);
                let function = Some(name.to_string());
                let origin = origin(name, module.as_deref().unwrap_or_default(), "");
                vec![Name { function, module, origin, ..Name::default() }]
            }
            Frame::Address(address) => vec![Name { offset: *address, ..Name::default() }],
        }
    }
}

//! Reads a recording: all of it that is whole, and what is not by its place.

use super::block::{Header, Kind};
use super::events::{Block, Item};
use super::head::Head;
use super::scan::Scan;
use super::{MAGIC, MAJOR, names};
use crate::event::{Event, EventKind, LossStage};
use crate::symbols::Names;
use std::fmt;
use std::io::{self, Read, Seek};

/// Length of what comes before the first block: magic and version.
const PRELUDE_LEN: usize = MAGIC.len() + 4;
/// Events given at once at most.
const EVENTS_MAX: usize = 8_192;
/// Damaged places that are told one by one.
const PLACES_MAX: usize = 16;

/// A file cannot be replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not begin as recordings do.
    #[error("it does not begin as a recording does")]
    Foreign,
    /// A later version wrote it.
    #[error("it has format {major}, and this portleak reads formats up to {MAJOR}")]
    Newer {
        /// That version.
        major: u16,
    },
    /// What says how to read it is damaged.
    #[error("its head is {0}, without which the rest cannot be read")]
    Headless(&'static str),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A part of a recording that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Whether the file ends in it.
    pub cut: bool,
}

/// What a recording lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The damaged places, the first ones.
    pub places: Vec<Damage>,
    /// All of them.
    pub damaged: u64,
    /// Events that were in them, as far as can be told.
    pub lost: u64,
    /// Events that only a later version understands.
    pub unknown: u64,
    /// Whether it has no end: its writer was killed, or the file was cut between two blocks.
    pub unfinished: bool,
}

impl Flaws {
    pub(super) fn damaged(&mut self, place: Damage) {
        self.damaged += 1;
        if self.places.len() < PLACES_MAX {
            self.places.push(place);
        }
    }

    /// Whether bytes were damaged or are missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged > 0
    }
}

/// One sentence a line; empty when nothing is wrong.
impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Damage { offset, bytes, cut } in &self.places {
            let what = if *cut { "is cut" } else { "is damaged" };
            writeln!(f, "the recording {what} at byte {offset}: {bytes} bytes could not be read")?;
        }
        if self.damaged > self.places.len() as u64 {
            writeln!(f, "it is damaged at {} places in all", self.damaged)?;
        }
        if self.lost > 0 {
            writeln!(f, "{} events were in what could not be read", self.lost)?;
        }
        if self.unfinished && self.damaged == 0 {
            writeln!(f, "the recording was not finished: up to a second before its end may be missing")?;
        }
        if self.unknown > 0 {
            writeln!(
                f,
                "{} events are of a later version and were passed over; update portleak",
                self.unknown
            )?;
        }
        Ok(())
    }
}

/// What [`Reader::turn`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more before the next instant that matters.
    More,
    /// The engine was told this time after the events.
    Until(u64),
    /// That was all; the last instant that is known of.
    End(u64),
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    scan: Scan<R>,
    head: Head,
    names: Names,
    block: Block,
    /// Events before the next item, those that could not be read included.
    events: u64,
    last_ns: u64,
    flaws: Flaws,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads what the recording begins with, and the names that are spread over it.
    ///
    /// # Errors
    /// When it cannot be replayed at all.
    pub fn open(mut file: R) -> Result<Self, OpenError> {
        let mut prelude = [0; PRELUDE_LEN];
        match file.read_exact(&mut prelude) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(OpenError::Foreign),
            read => read?,
        }
        if !prelude.starts_with(&MAGIC) {
            return Err(OpenError::Foreign);
        }
        let major = u16::from_le_bytes([prelude[8], prelude[9]]);
        if major > MAJOR {
            return Err(OpenError::Newer { major });
        }
        let mut scan = Scan::new(file, PRELUDE_LEN as u64)?;
        let head = read_head(&mut scan)?;
        let names = read_names(&mut scan)?;
        Ok(Self {
            scan: scan.restart(PRELUDE_LEN as u64)?,
            last_ns: head.began_ns,
            head,
            names,
            block: Block::default(),
            events: 0,
            flaws: Flaws { unfinished: true, ..Flaws::default() },
        })
    }

    /// What it begins with.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The names of the call sites, those of the whole recording.
    pub fn take_names(&mut self) -> Names {
        std::mem::take(&mut self.names)
    }

    /// What it lacks, of what was read so far.
    #[must_use]
    pub fn flaws(&self) -> &Flaws {
        &self.flaws
    }

    /// Appends what comes next to `events`.
    ///
    /// # Errors
    /// When the file cannot be read. What is damaged is no error, it is passed over.
    pub fn turn(&mut self, events: &mut Vec<Event>) -> io::Result<Turn> {
        while events.len() < EVENTS_MAX {
            match self.block.next() {
                Ok(Some(Item::Event(event))) => {
                    self.events += 1;
                    self.last_ns = event.at_ns;
                    events.push(event);
                }
                Ok(Some(Item::Unknown)) => {
                    self.events += 1;
                    self.flaws.unknown += 1;
                }
                Ok(Some(Item::Mark(now_ns))) => {
                    self.last_ns = now_ns;
                    return Ok(Turn::Until(now_ns));
                }
                Ok(None) => {
                    if !self.next_block(events)? {
                        return Ok(Turn::End(self.last_ns));
                    }
                }
                Err(_) => {
                    self.flaws.damaged(self.scan.whole_block());
                    self.block.begin();
                }
            }
        }
        Ok(Turn::More)
    }

    /// Goes to the next block of events; `false` at the end.
    fn next_block(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        while let Some(header) = self.scan.header(&mut self.flaws)? {
            let wanted = header.kind == Kind::EVENTS;
            if wanted || header.kind == Kind::END {
                self.tell_loss(&header, events);
            }
            self.flaws.unfinished &= header.kind != Kind::END;
            if !wanted {
                self.scan.skip(&header)?;
            } else if self.scan.content(&header, self.block.begin(), &mut self.flaws)? {
                return Ok(true);
            } else {
                self.block.begin();
            }
        }
        Ok(false)
    }

    /// Events are missing before this block: the engine must know.
    fn tell_loss(&mut self, header: &Header, events: &mut Vec<Event>) {
        let count = header.events_before.saturating_sub(self.events);
        self.events = header.events_before;
        if count > 0 {
            self.flaws.lost += count;
            let kind = EventKind::Lost { count, stage: LossStage::Recording };
            events.push(Event { at_ns: self.last_ns, kind });
        }
    }
}

fn read_head<R: Read + Seek>(scan: &mut Scan<R>) -> Result<Head, OpenError> {
    let mut content = Vec::new();
    let flaws = &mut Flaws::default();
    let header = scan.header(flaws)?;
    let header = header.filter(|header| header.kind == Kind::HEAD).ok_or(OpenError::Headless("missing"))?;
    if !scan.content(&header, &mut content, flaws)? {
        return Err(OpenError::Headless("damaged"));
    }
    serde_json::from_slice(&content).map_err(|_| OpenError::Headless("not understood"))
}

fn read_names<R: Read + Seek>(scan: &mut Scan<R>) -> io::Result<Names> {
    let (mut all, mut content) = (Names::default(), Vec::new());
    let flaws = &mut Flaws::default();
    while let Some(header) = scan.header(flaws)? {
        if header.kind != Kind::NAMES {
            scan.skip(&header)?;
        } else if scan.content(&header, &mut content, flaws)? {
            all.extend(names::parse(&content).into_iter().flatten());
        }
    }
    Ok(all)
}

//! Reads a recording: all of it that is whole, and what is not by its place.

use super::block::{BlockHeader, Kind};
use super::damage::Flaws;
use super::events::{Block, Item};
use super::header::Header;
use super::scan::Scan;
use super::{MAGIC, MAJOR, names};
use crate::event::{Event, EventKind, LossStage};
use crate::symbols::Names;
use std::io::{self, Read, Seek};

/// Length of what comes before the first block: magic and version.
const PRELUDE_LEN: usize = MAGIC.len() + 4;
/// Events given at once at most.
const EVENTS_MAX: usize = 8_192;

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
    #[error("its header is {0}, without which the rest cannot be read")]
    NoHeader(&'static str),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
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
    header: Header,
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
        let header = read_header(&mut scan)?;
        let names = read_names(&mut scan)?;
        Ok(Self {
            scan: scan.restart(PRELUDE_LEN as u64)?,
            last_ns: header.began_ns,
            header,
            names,
            block: Block::default(),
            events: 0,
            flaws: Flaws { unfinished: true, ..Flaws::default() },
        })
    }

    /// What it begins with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
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
    fn tell_loss(&mut self, header: &BlockHeader, events: &mut Vec<Event>) {
        let count = header.events_before.saturating_sub(self.events);
        self.events = header.events_before;
        if count > 0 {
            self.flaws.lost += count;
            let kind = EventKind::Lost { count, stage: LossStage::Recording };
            events.push(Event { at_ns: self.last_ns, kind });
        }
    }
}

fn read_header<R: Read + Seek>(scan: &mut Scan<R>) -> Result<Header, OpenError> {
    let mut content = Vec::new();
    let flaws = &mut Flaws::default();
    let header = scan.header(flaws)?;
    let header = header.filter(|header| header.kind == Kind::HEADER).ok_or(OpenError::NoHeader("missing"))?;
    if !scan.content(&header, &mut content, flaws)? {
        return Err(OpenError::NoHeader("damaged"));
    }
    serde_json::from_slice(&content).map_err(|_| OpenError::NoHeader("not understood"))
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

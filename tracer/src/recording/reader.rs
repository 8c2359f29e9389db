//! Reads a recording: all intact parts, and a list of the damaged ones.

use super::block::{BlockHeader, Kind};
use super::damage::Flaws;
use super::events::{Block, Item};
use super::header::Header;
use super::scan::Scan;
use super::{MAGIC, MAJOR, names};
use crate::event::{Event, EventKind, LossStage};
use crate::symbols::Names;
use std::io::{self, Read, Seek};

/// Length of magic and version, which precede the first block.
const PRELUDE_LEN: usize = MAGIC.len() + 4;
/// Events that one turn returns at most.
const EVENTS_MAX: usize = 8_192;

/// The file cannot be replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not begin with the magic.
    #[error("it is not a recording")]
    Foreign,
    /// A later major version wrote it.
    #[error("it has format {major}, and this portleak reads formats up to {MAJOR}")]
    Newer {
        /// That version.
        major: u16,
    },
    /// Its header is missing or damaged.
    #[error("its header is {0}; the rest cannot be read without it")]
    NoHeader(&'static str),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of [`Reader::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// More events follow before the next time mark.
    More,
    /// The engine advanced to this instant after the events.
    Until(u64),
    /// The end of the recording, with its last known instant.
    End(u64),
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    scan: Scan<R>,
    header: Header,
    names: Names,
    block: Block,
    /// Number of events before the next item, unreadable ones included.
    events: u64,
    last_ns: u64,
    flaws: Flaws,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header, and the names from all of the file.
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

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The names of the call sites in the whole recording.
    pub fn take_names(&mut self) -> Names {
        std::mem::take(&mut self.names)
    }

    /// The last instant that was read, in nanoseconds on the source's clock.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// What is missing in the part that was read so far.
    #[must_use]
    pub fn flaws(&self) -> &Flaws {
        &self.flaws
    }

    /// Appends the next events to `events`.
    ///
    /// # Errors
    /// When the file cannot be read. Damage is no error: it is skipped and noted in the flaws.
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

    /// Reads the next block of events; `false` at the end.
    fn next_block(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        while let Some(header) = self.scan.header(&mut self.flaws)? {
            let wanted = header.kind == Kind::EVENTS;
            if wanted || header.kind == Kind::END {
                self.report_loss(&header, events);
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

    /// Emits a loss if events are missing before this block.
    fn report_loss(&mut self, header: &BlockHeader, events: &mut Vec<Event>) {
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

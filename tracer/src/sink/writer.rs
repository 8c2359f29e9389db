//! The output stream: standard output or a file, and its errors.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The reader closed the pipe, as `| head -1` does.
    #[error("the output was closed early ({name}): stopped tracing")]
    Closed {
        /// The output's name.
        name: String,
    },
    /// The file could not be created.
    #[error("cannot write to {name}: {error}\n  remedy: choose an --output file in a writable folder")]
    Create {
        /// The output's name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The reader reads no more: a full pipe, a stopped terminal.
    #[error("the summary was not written: nobody reads {name}\n  remedy: read it, or use --output FILE")]
    Stalled {
        /// The output's name.
        name: String,
    },
    /// A write failed.
    #[error("cannot write to {name}: {error}\n  remedy: free space there, or choose another --output")]
    Write {
        /// The output's name.
        name: String,
        /// Why.
        error: io::Error,
    },
}

/// A named writer; each write is flushed, so that readers of a pipe see it at once.
pub struct Writer {
    name: String,
    stream: Box<dyn Write + Send>,
    terminal: bool,
    /// Whether it is a regular file: a busy disk is slow, but nobody has to read it.
    regular: bool,
    /// Whether a write is in progress, which may wait for a reader.
    writing: Arc<AtomicBool>,
}

impl Writer {
    /// A writer to `stream`, called `name` in errors.
    #[must_use]
    pub fn new(name: &str, stream: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), stream, terminal: false, regular: false, writing: Arc::default() }
    }

    /// The file at `path`, or standard output.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn open(path: Option<&Path>) -> Result<Self, SinkError> {
        let Some(path) = path else {
            let stdout = io::stdout();
            let terminal = stdout.is_terminal();
            let writer = Self::new("standard output", Box::new(stdout));
            return Ok(Self { terminal, ..writer });
        };
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => {
                let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
                Ok(Self { regular, ..Self::new(&name, Box::new(file)) })
            }
            Err(error) => Err(SinkError::Create { name, error }),
        }
    }

    /// Whether a write is in progress, for whoever waits for it.
    #[must_use]
    pub fn writing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.writing)
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes and flushes.
    ///
    /// # Errors
    /// When the reader is gone or the write failed.
    pub fn write(&mut self, text: &[u8]) -> Result<(), SinkError> {
        self.writing.store(!self.regular, Ordering::Relaxed);
        let written = self.stream.write_all(text).and_then(|()| self.stream.flush());
        self.writing.store(false, Ordering::Relaxed);
        written.map_err(|error| self.broken(error))
    }

    /// Translates `error`.
    #[must_use]
    pub fn broken(&self, error: io::Error) -> SinkError {
        let name = self.name.clone();
        match error.kind() {
            ErrorKind::BrokenPipe => SinkError::Closed { name },
            _ => SinkError::Write { name, error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn message(kind: ErrorKind) -> String {
        let mut writer = Writer::new("standard output", Box::new(Broken(kind)));
        writer.write(b"x").unwrap_err().to_string()
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        assert_eq!(
            message(ErrorKind::BrokenPipe),
            "the output was closed early (standard output): stopped tracing"
        );
        assert!(message(ErrorKind::StorageFull).contains("remedy: free space"));
    }

    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/report.txt");
        let error = Writer::open(Some(&path)).err().unwrap().to_string();
        assert!(error.contains("absent/report.txt"), "{error}");
        assert!(error.contains("remedy: choose an --output file"), "{error}");
    }
}

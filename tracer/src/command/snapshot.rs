//! `portleak snapshot`.

use super::capture::{in_scope, scope};
use super::output::{BY_DOCTOR, Subject, open_sink, open_writer};
use crate::cli::Snapshot;
use crate::engine::Config;
use crate::exit;
use crate::os::page_bytes;
use crate::pipeline::session;
use crate::source;
use crate::symbols::Symbols;

pub(super) fn execute(args: &Snapshot) -> anyhow::Result<u8> {
    let writer = open_writer(&args.output)?;
    let config = Config { scope: scope(&args.filter)?, ..Config::default() };
    let picture = source::one_shot()?;
    let capture = in_scope(&picture.capture, &config.scope);
    let subject = Subject {
        capture: &capture,
        symbols: Symbols::default(),
        buffer_bytes: Some(page_bytes()),
        limits_by: BY_DOCTOR,
    };
    let mut sink = open_sink(&args.output, writer, subject, None);
    session::show_one_shot(&picture, config, &mut *sink)?;
    Ok(exit::OK)
}

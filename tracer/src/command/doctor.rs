//! `portleak doctor`.

use crate::cli::{Doctor, Format};
use crate::exit;
use crate::os::page_bytes;
use crate::pipeline::{capture, session};
use crate::sink::Writer;
use crate::sink::doctor::{self, Health};
use crate::source::{self, CaptureOptions, Stacks};
use jiff::Timestamp;
use std::time::Duration;

/// How long the event loop is watched.
const LAG_MEASURED: Duration = Duration::from_millis(300);

pub(super) fn execute(args: &Doctor) -> anyhow::Result<u8> {
    if args.self_test { self_test(args) } else { examine(args) }
}

#[tokio::main(flavor = "current_thread")]
async fn examine(args: &Doctor) -> anyhow::Result<u8> {
    let mut writer = Writer::open(None)?;
    let options = CaptureOptions { buffer_bytes: page_bytes(), stacks: Stacks::default() };
    let (opened, mut capturing) = capture::open(move || source::open(&options)).await?;
    let lag = session::measure_lag(&mut capturing, opened.now_ns, LAG_MEASURED).await?;
    let health = Health { capture: &opened.capture, advice: &source::advice(), lag };
    match args.format {
        Format::Text => doctor::text(&health, args.verbose, &mut writer)?,
        Format::Json => doctor::json(&health, opened.now_ns, &mut writer)?,
    }
    Ok(exit::OK)
}

fn self_test(args: &Doctor) -> anyhow::Result<u8> {
    let mut writer = Writer::open(None)?;
    let answers = source::self_test(args.save.as_deref(), args.wait)?;
    match args.format {
        Format::Text => doctor::answers_text(&answers, &mut writer)?,
        Format::Json => doctor::answers_json(&answers, Timestamp::now(), &mut writer)?,
    }
    Ok(exit::OK)
}

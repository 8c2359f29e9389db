//! `portleak doctor`.

use crate::cli::{Doctor, Format};
use crate::exit;
use crate::os::page_bytes;
use crate::sink::{Writer, doctor};
use crate::source::{self, CaptureOptions, Source, Stacks};
use jiff::Timestamp;

pub(super) fn execute(args: &Doctor) -> anyhow::Result<u8> {
    if args.self_test { self_test(args) } else { examine(args) }
}

#[tokio::main(flavor = "current_thread")]
async fn examine(args: &Doctor) -> anyhow::Result<u8> {
    let mut writer = Writer::open(None)?;
    let mut source = source::open(&CaptureOptions { buffer_bytes: page_bytes(), stacks: Stacks::default() })?;
    let now_ns = source.now_ns();
    let advice = source::advice();
    match args.format {
        Format::Text => doctor::text(source.capture(), &advice, args.verbose, &mut writer)?,
        Format::Json => doctor::json(source.capture(), &advice, now_ns, &mut writer)?,
    }
    source.stop(&mut Vec::new())?;
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

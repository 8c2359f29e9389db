//! `portleak explain`.

use crate::cli::Explain;
use crate::sink::Writer;
use crate::{exit, explain};

pub(super) fn execute(args: &Explain) -> anyhow::Result<u8> {
    let text = if args.code.is_empty() {
        explain::contents()
    } else {
        explain::look_up(&args.code.join(" "))?.to_string()
    };
    Writer::open(None)?.write(text.as_bytes())?;
    Ok(exit::OK)
}

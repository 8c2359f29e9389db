//! Texts around the options: usage, examples, and a tip for the most common mistake.

use clap::error::{ContextKind, ContextValue, ErrorKind};

pub(super) const RUN_USAGE: &str = "portleak run [OPTIONS] -- CMD [ARG]...";

pub(super) const EXAMPLES: &str = "\
Examples:
  portleak run -- ./repro.sh           trace a reproduction, then report who leaks
  portleak trace --duration 30s        trace the whole machine for 30 seconds
  portleak trace --pid 4711            trace one process until Ctrl-C
  portleak snapshot                    who holds which ports now, without tracing
  portleak replay leak.plk             analyse what --record leak.plk recorded
  portleak doctor                      what works on this machine, and what does not
  portleak explain EADDRNOTAVAIL       what an error code means";

pub(super) const RUN_EXAMPLES: &str = "\
CMD writes to the same standard output; --output FILE keeps the two apart.
Exit status: that of CMD (128+N when signal N ended it); 125 when portleak itself failed,
126 when CMD is not executable, 127 when it was not found; 3 with --fail-on-leak and a leak.
The first Ctrl-C is passed to CMD; a second one ends it.

Examples:
  portleak run -- ./repro.sh
  portleak run --fail-on-leak -- cargo test
  portleak run --format json --output ports.jsonl -- python3 client.py --once";

pub(super) const TRACE_EXAMPLES: &str = "\
Exit status: 0; 1 when portleak itself failed; 2 on wrong usage; 3 with --fail-on-leak and a leak.

Examples:
  portleak trace                       until Ctrl-C, then the summary
  portleak trace --comm nginx -v
  portleak trace --duration 5m --fail-on-leak -q
  portleak trace --record night.plk    record, to replay it later or elsewhere
  portleak trace --format json | jq 'select(.type == \"finding\")'";

pub(super) const SNAPSHOT_EXAMPLES: &str = "\
Who holds what at this instant. A leak shows only over time: portleak trace.
Without root it shows what it may read and lists what is missing.
Exit status: 0; 1 when portleak itself failed; 2 on wrong usage.

Examples:
  portleak snapshot
  portleak snapshot --netns self --proto tcp
  portleak snapshot --format json | jq '.owners[] | select(.tcp.held_bound_only > 0)'";

pub(super) const REPLAY_EXAMPLES: &str = "\
Prints what was printed live, at full speed; needs neither root nor the original machine. A cut or
damaged file is replayed as far as it is intact; standard error lists what is missing.
Exit status: 0; 1 when the file is damaged or portleak itself failed; 2 on wrong usage; 3 with
--fail-on-leak and a leak.

Examples:
  portleak replay leak.plk
  portleak replay leak.plk --profile production
  portleak replay trace.etl            what netsh trace, wpr or logman recorded on Windows
  portleak replay leak.plk --format json | jq 'select(.type == \"finding\")'";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Exit status: 0; 1 when the code is not known; 2 on wrong usage.

Examples:
  portleak explain                     all codes
  portleak explain 0xC0000209
  portleak explain Cannot assign requested address";

/// `portleak run foo` lacks only the dashes: shows where they go.
pub(super) fn show_the_dashes(mut error: clap::Error) -> clap::Error {
    let command = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => {
            word.clone()
        }
        (ErrorKind::MissingRequiredArgument, _) => "./repro.sh".to_owned(),
        _ => return error,
    };
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    if usage.is_some_and(|usage| usage.contains(RUN_USAGE)) {
        let tip = format!("the command goes after the dashes: portleak run -- {command}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

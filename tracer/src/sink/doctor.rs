//! What works on this machine, what does not, why, and the remedy.

use super::LoopLag;
use super::context::{Context, rfc3339};
use super::json::{DegradationJson, HookJson, LoopLagJson, PoolJson, write_line};
use super::numbers::counted;
use super::text::{lag_line, limits, pool_line, several};
use super::writer::{SinkError, Writer};
use crate::event::{Advice, Answer, Capture, Hook};
use crate::symbols::Symbols;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// What `doctor` shows about this machine.
#[derive(Clone, Copy, Debug)]
pub struct Health<'a> {
    /// What can be captured.
    pub capture: &'a Capture,
    /// Advice on its settings.
    pub advice: &'a [Advice],
    /// How late the event loop is; `None` if no event came.
    pub lag: Option<LoopLag>,
}

/// The body of the `doctor` object.
#[derive(Debug, Serialize)]
struct DoctorJson<'a> {
    platform: &'a str,
    kernel: &'a str,
    hooks: Vec<HookJson<'a>>,
    degraded: Vec<DegradationJson<'a>>,
    pools: Vec<PoolJson>,
    advice: Vec<AdviceJson<'a>>,
    loop_lag_s: Option<LoopLagJson>,
}

#[derive(Debug, Serialize)]
struct AdviceJson<'a> {
    says: &'a str,
    remedy: &'a str,
}

#[derive(Debug, Serialize)]
struct SelfTestJson<'a> {
    answers: Vec<AnswerJson<'a>>,
}

#[derive(Debug, Serialize)]
struct AnswerJson<'a> {
    question: &'a str,
    observed: Option<&'a str>,
}

/// One JSON object.
///
/// # Errors
/// When the output cannot be written.
pub fn json(health: &Health<'_>, now_ns: u64, writer: &mut Writer) -> Result<(), SinkError> {
    let Health { capture, advice, lag } = *health;
    let at = Context::new(capture, Symbols::default(), TimeZone::UTC).rfc3339(now_ns);
    let body = DoctorJson {
        platform: &capture.platform,
        kernel: &capture.kernel,
        hooks: HookJson::all(capture),
        degraded: DegradationJson::all(capture),
        pools: PoolJson::known_at_start(capture),
        advice: advice.iter().map(|it| AdviceJson { says: &it.says, remedy: &it.remedy }).collect(),
        loop_lag_s: lag.map(LoopLagJson::of),
    };
    write_line(writer, "doctor", at, body)
}

/// For a person: the verdict and the limits, then hooks, pools and advice. Limits that need no
/// remedy are listed only if `verbose`.
///
/// # Errors
/// When the output cannot be written.
pub fn text(health: &Health<'_>, verbose: bool, writer: &mut Writer) -> Result<(), SinkError> {
    let Health { capture, advice, lag } = *health;
    let verdict = if capture.degraded.is_empty() {
        "everything works".to_owned()
    } else {
        "tracing works, with limits".to_owned()
    };
    let mut text = format!("{} {}: {verdict}\n", capture.platform, capture.kernel);
    text += &limits(&capture.degraded, verbose);
    let minor = capture.degraded.iter().filter(|it| !it.is_actionable()).count() as u64;
    if minor > 0 && !verbose {
        text += &format!("{} that need no remedy: portleak doctor -v\n", counted(minor, "more limit"));
    }
    text.extend(lag.map(lag_line));
    text += "\nhooks\n";
    text.extend(capture.hooks.iter().map(hook));
    if !capture.pools.is_empty() {
        text += "\npools\n";
        let several = several(capture.pools.keys().copied());
        for (id, range) in &capture.pools {
            text += &format!("  {}\n", pool_line(*id, range, several));
        }
    }
    if !advice.is_empty() {
        let place = if capture.platform == "linux" { "network namespace" } else { "machine" };
        text += &format!("\nadvice for this {place}\n");
        text.extend(advice.iter().map(|it| format!("  {}\n    remedy: {}\n", it.says, it.remedy)));
    }
    writer.write(text.as_bytes())
}

/// The answers of the self-test at `at`, as one JSON object.
///
/// # Errors
/// When the output cannot be written.
pub fn answers_json(answers: &[Answer], at: Timestamp, writer: &mut Writer) -> Result<(), SinkError> {
    let answers = answers.iter();
    let answers =
        answers.map(|it| AnswerJson { question: &it.question, observed: it.observed.as_deref() }).collect();
    let body = SelfTestJson { answers };
    write_line(writer, "self_test", rfc3339(at), body)
}

/// The answers of the self-test for a person.
///
/// # Errors
/// When the output cannot be written.
pub fn answers_text(answers: &[Answer], writer: &mut Writer) -> Result<(), SinkError> {
    let shown = |it: &Answer| {
        let observed = it.observed.as_deref().unwrap_or("not observed");
        format!("{}\n  {observed}\n", it.question)
    };
    writer.write(answers.iter().map(shown).collect::<String>().as_bytes())
}

fn hook(hook: &Hook) -> String {
    match &hook.off_because {
        None => format!("  on   {}\n", hook.name),
        Some(why) => format!("  off  {}: {why}\n", hook.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixtures::{self, Written};

    fn health<'a>(capture: &'a Capture, advice: &'a [Advice]) -> Health<'a> {
        Health { capture, advice, lag: Some(LoopLag { p99_s: 0.000_4, max_s: 0.002 }) }
    }

    fn advice() -> [Advice; 1] {
        [Advice { says: "the range could be wider".to_owned(), remedy: "widen it".to_owned() }]
    }

    #[test]
    fn text_shows_what_is_off_and_the_remedy() {
        let written = Written::default();
        text(&health(&fixtures::capture(), &advice()), false, &mut written.writer()).unwrap();
        assert_eq!(
            written.text(),
            "linux 6.8.0-45-generic: tracing works, with limits\n\
             limited: UDP ports of the kernel: udp_lib_unhash is off\n\
             \x20 remedy: use a kernel with CONFIG_FUNCTION_TRACER\n\
             event loop: lag 0.4 ms at the 99th percentile, 2 ms at most\n\
             \n\
             hooks\n\
             \x20 on   inet_sock_set_state\n\
             \x20 off  udp_lib_unhash: the kernel has no such function\n\
             \n\
             pools\n\
             \x20 tcp 32768-60999: 28,232 ports\n\
             \x20 udp 32768-60999: 28,232 ports\n\
             \n\
             advice for this network namespace\n\
             \x20 the range could be wider\n\
             \x20   remedy: widen it\n"
        );
    }

    #[test]
    fn json_is_one_object() {
        let written = Written::default();
        json(&health(&fixtures::capture(), &advice()), fixtures::at(0.0), &mut written.writer()).unwrap();
        let object: serde_json::Value = serde_json::from_str(&written.text()).unwrap();
        assert_eq!(object["type"], "doctor");
        assert_eq!(object["at"], "2026-05-01T09:12:04.000Z");
        assert_eq!(object["hooks"][1]["state"], "off");
        assert_eq!(object["degraded"][0]["feature"], "UDP ports of the kernel");
        assert_eq!(object["pools"][0]["low"], 32768);
        assert!(object["pools"][0]["used"].is_null());
        assert_eq!(object["advice"][0]["remedy"], "widen it");
        assert_eq!(object["loop_lag_s"]["max"], 0.002);
    }

    #[test]
    fn a_missing_answer_is_shown_as_such() {
        let answer = |question: &str, observed: Option<&str>| Answer {
            question: question.to_owned(),
            observed: observed.map(str::to_owned),
        };
        let answers = [answer("in which order?", Some("the machine's")), answer("how long?", None)];
        let written = Written::default();
        answers_text(&answers, &mut written.writer()).unwrap();
        assert_eq!(written.text(), "in which order?\n  the machine's\nhow long?\n  not observed\n");
        let written = Written::default();
        answers_json(&answers, Timestamp::UNIX_EPOCH, &mut written.writer()).unwrap();
        let object: serde_json::Value = serde_json::from_str(&written.text()).unwrap();
        assert_eq!(
            (&object["type"], &object["at"]),
            (&"self_test".into(), &"1970-01-01T00:00:00.000Z".into())
        );
        assert_eq!(object["answers"][0]["observed"], "the machine's");
        assert!(object["answers"][1]["observed"].is_null());
    }
}

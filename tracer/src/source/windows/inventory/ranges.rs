//! The port ranges, combined from the output of `netsh` for each protocol and family.

use super::exclusions::{Exclusion, pool_range};
use super::netsh;
use crate::event::{Degradation, PoolId, PortRange, Protocol};
use crate::source::windows::model::{DEFAULT_RANGE, pool};
use std::collections::BTreeMap;

/// The pools as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The range of each pool, from IPv4. A missing pool could not be read.
    pub pools: BTreeMap<PoolId, PortRange>,
    /// All exclusions, inside and outside the range.
    pub exclusions: BTreeMap<PoolId, Vec<Exclusion>>,
    /// What could not be read, or cannot be represented.
    pub unknown: Vec<Degradation>,
}

/// A query to `netsh interface ipv4` or `ipv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// The range, or what is excluded.
    pub asks: Asks,
}

/// The subject of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asks {
    /// `show dynamicport`.
    Range,
    /// `show excludedportrange`.
    Exclusions,
}

impl Question {
    /// All queries.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for family in ["ipv4", "ipv6"] {
                all.extend([Asks::Range, Asks::Exclusions].map(|asks| Self { family, protocol, asks }));
            }
        }
        all
    }

    /// The arguments of netsh.
    #[must_use]
    pub fn arguments(&self) -> [String; 5] {
        let Self { family, protocol, asks } = self;
        let (what, of) = match asks {
            Asks::Range => ("dynamicport", protocol.to_string()),
            Asks::Exclusions => ("excludedportrange", format!("protocol={protocol}")),
        };
        ["interface", family, "show", what, &of].map(str::to_owned)
    }
}

/// The output of netsh, or why there is none.
pub type Answers = BTreeMap<Question, Result<Vec<u8>, String>>;

impl Ranges {
    /// The ranges from the output of netsh.
    #[must_use]
    pub fn of(answers: &Answers) -> Self {
        let mut ranges = Self::default();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            ranges.read(protocol, answers);
        }
        ranges
    }

    fn read(&mut self, protocol: Protocol, answers: &Answers) {
        let four = Family::read("ipv4", protocol, answers);
        let six = Family::read("ipv6", protocol, answers);
        let pool = pool(protocol);
        let exclusions = four.exclusions.clone().unwrap_or_default();
        match &four.range {
            Ok((low, high)) => {
                self.pools.insert(pool, pool_range(*low, *high, &exclusions));
            }
            Err(why) => {
                let (low, high) = (DEFAULT_RANGE.low, DEFAULT_RANGE.high);
                let why = format!("{why}; Windows' default {low}-{high} is assumed");
                self.limit(format!("the range of {protocol} ports"), why, four.compare("dynamicport"));
            }
        }
        if let Err(why) = &four.exclusions {
            let why = format!("{why}; none are assumed");
            self.limit(format!("excluded {protocol} ports"), why, four.compare("excludedportrange"));
        }
        self.exclusions.insert(pool, exclusions);
        self.compare(&four, &six);
    }

    /// Compares the families. Port events do not distinguish them, so the pools do not either. Where IPv4's
    /// range could not be read, that has been reported.
    fn compare(&mut self, four: &Family, six: &Family) {
        let protocol = six.protocol;
        let feature = format!("the range of {protocol} ports of IPv6");
        match (&four.range, &six.range) {
            (Ok(_), Err(why)) => {
                self.limit(feature, format!("{why}; IPv4's is assumed"), six.compare("dynamicport"));
            }
            (Ok((low, high)), Ok((low6, high6))) if (low, high) != (low6, high6) => {
                let why = format!("it is {low6}-{high6}, and ports are counted against IPv4's {low}-{high}");
                let count = u32::from(*high) + 1 - u32::from(*low);
                let remedy = format!(
                    "set the same range: netsh int ipv6 set dynamicport {protocol} start={low} num={count}"
                );
                self.limit(feature, why, remedy);
            }
            _ => {}
        }
        let feature = format!("excluded {protocol} ports of IPv6");
        match (&four.exclusions, &six.exclusions) {
            (Ok(_), Err(why)) => {
                let why = format!("{why}; IPv4's are assumed");
                self.limit(feature, why, six.compare("excludedportrange"));
            }
            (Ok(four), Ok(excluded)) if four != excluded => {
                let why = "they differ from IPv4's, and ports are counted against IPv4's";
                self.limit(feature, why.to_owned(), six.compare("excludedportrange"));
            }
            _ => {}
        }
    }

    fn limit(&mut self, feature: String, why: String, remedy: String) {
        self.unknown.push(Degradation { feature, why, remedy });
    }
}

/// The settings of one family, or why they are not known.
struct Family {
    name: &'static str,
    protocol: Protocol,
    range: Result<(u16, u16), String>,
    exclusions: Result<Vec<Exclusion>, String>,
}

impl Family {
    fn read(name: &'static str, protocol: Protocol, answers: &Answers) -> Self {
        let answer = |asks| match answers.get(&Question { family: name, protocol, asks }) {
            Some(Ok(output)) => Ok(output),
            Some(Err(why)) => Err(why.clone()),
            None => Err("netsh was not asked".to_owned()),
        };
        let range = answer(Asks::Range)
            .and_then(|output| netsh::dynamic_range(output).ok_or_else(|| unreadable(output)));
        let exclusions = answer(Asks::Exclusions)
            .and_then(|output| netsh::exclusions(output).ok_or_else(|| unreadable(output)));
        Self { name, protocol, range, exclusions }
    }

    fn compare(&self, what: &str) -> String {
        let Self { name, protocol, .. } = self;
        format!("compare with: netsh int {name} show {what} {protocol}")
    }
}

/// The reason when the output cannot be parsed.
fn unreadable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        None => "netsh printed nothing".to_owned(),
        Some(line) => {
            format!("netsh printed no such table, but: {}", line.chars().take(60).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(change: impl Fn(&Question) -> Option<Result<Vec<u8>, String>>) -> Answers {
        let usual = |question: &Question| match question.asks {
            Asks::Range => b"Start Port : 49152\nNumber of Ports : 16384\n".to_vec(),
            Asks::Exclusions => b"---- ----\n 80 80\n 50000 50059 *\n 51000 51099\n".to_vec(),
        };
        let all = Question::all().into_iter();
        all.map(|question| (question, change(&question).unwrap_or_else(|| Ok(usual(&question))))).collect()
    }

    #[test]
    fn the_pools_are_the_ranges_without_what_is_excluded() {
        let ranges = Ranges::of(&answers(|_| None));
        let range = PortRange { low: 49_152, high: 65_535, reserved: 160 };
        let pools = [Protocol::Tcp, Protocol::Udp].map(|protocol| (pool(protocol), range));
        assert_eq!(ranges.pools, pools.into());
        assert_eq!(ranges.exclusions[&pool(Protocol::Tcp)].len(), 3);
        assert_eq!(ranges.unknown, []);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_not_made_up() {
        let ranges = Ranges::of(&answers(|question| {
            (question.family == "ipv4" && question.protocol == Protocol::Tcp)
                .then(|| Err("no netsh".to_owned()))
        }));
        assert!(!ranges.pools.contains_key(&pool(Protocol::Tcp)));
        assert!(ranges.pools.contains_key(&pool(Protocol::Udp)));
        let told: Vec<_> = ranges.unknown.iter().map(|limit| (&*limit.feature, &*limit.why)).collect();
        let expected = [
            ("the range of tcp ports", "no netsh; Windows' default 49152-65535 is assumed"),
            ("excluded tcp ports", "no netsh; none are assumed"),
        ];
        assert_eq!(told, expected);
        assert_eq!(ranges.unknown[0].remedy, "compare with: netsh int ipv4 show dynamicport tcp");
    }

    #[test]
    fn another_range_of_ipv6_is_told() {
        let ranges = Ranges::of(&answers(|question| {
            let other = b"Start Port : 10000\nNumber of Ports : 1000\n".to_vec();
            let is_it = question.family == "ipv6" && question.asks == Asks::Range;
            (is_it && question.protocol == Protocol::Udp).then_some(Ok(other))
        }));
        let [limit] = &ranges.unknown[..] else { panic!("{:?}", ranges.unknown) };
        assert_eq!(limit.why, "it is 10000-10999, and ports are counted against IPv4's 49152-65535");
        assert!(limit.remedy.ends_with("dynamicport udp start=49152 num=16384"), "{}", limit.remedy);
    }

    #[test]
    fn nothing_asked_is_nothing_known() {
        let ranges = Ranges::of(&Answers::new());
        assert_eq!((ranges.pools.len(), ranges.unknown.len()), (0, 4), "once for both families");
    }

    #[test]
    fn an_answer_that_is_no_table_is_shown() {
        let ranges = |output: &[u8]| {
            Ranges::of(&answers(|question| (question.family == "ipv6").then(|| Ok(output.to_vec()))))
        };
        assert!(ranges(b"").unknown[0].why.starts_with("netsh printed nothing; IPv4's is assumed"));
        let refused = ranges(b"\r\nThe requested operation requires elevation.\r\n");
        let why = "netsh printed no such table, but: The requested operation requires elevation.; IPv4's are \
                   assumed";
        assert_eq!((refused.unknown.len(), &*refused.unknown[1].why), (4, why));
    }

    #[test]
    fn netsh_is_asked_as_its_help_has_it() {
        let asked = Question::all();
        assert_eq!(asked.len(), 8);
        assert_eq!(asked[0].arguments().join(" "), "interface ipv4 show dynamicport tcp");
        assert_eq!(asked[7].arguments().join(" "), "interface ipv6 show excludedportrange protocol=udp");
    }
}

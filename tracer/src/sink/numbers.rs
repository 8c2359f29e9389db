//! Numbers as people read them: separators, units, no false precision.

/// `28,232`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 port`, `600 ports`; `noun` is one whose plural ends in s.
#[must_use]
pub fn counted(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(n))
}

/// At most one decimal, and only below ten: `9.2`, `9`, `12`.
fn short(value: f64) -> String {
    if value < 9.95 {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    } else {
        format!("{value:.0}")
    }
}

/// A length of time in its natural unit: `2 ms`, `45 s`, `9 min`, `2.5 h`, `3 days`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 86400.0;
    const YEAR: f64 = 365.0 * DAY;
    match seconds {
        s if s < 0.000_1 => "<0.1 ms".to_owned(),
        s if s < 0.999_5 => format!("{} ms", short(s * 1000.0)),
        s if s < 2.0 * MINUTE => format!("{} s", short(s)),
        s if s < 2.0 * HOUR => format!("{:.0} min", s / MINUTE),
        s if s < 2.0 * DAY => format!("{} h", short(s / HOUR)),
        s if s < 2.0 * YEAR => format!("{:.0} days", s / DAY),
        s => format!("{:.0} years", s / YEAR),
    }
}

/// A rate in the unit that makes it at least one: `50 a second`, `2 an hour`.
#[must_use]
pub fn rate(per_s: f64) -> String {
    let (value, unit) = match per_s {
        r if r >= 0.95 => (r, "a second"),
        r if r * 60.0 >= 0.95 => (r * 60.0, "a minute"),
        r if r * 3600.0 >= 0.95 => (r * 3600.0, "an hour"),
        r => (r * 86400.0, "a day"),
    };
    format!("{} {unit}", short(value))
}

/// A share of one: `2 %`, `0.4 %`. Neither 0 nor 100 is claimed for what is only close to it.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p > 0.0 && p < 0.1 => "<0.1 %".to_owned(),
        p if p < 100.0 && p > 99.9 => ">99.9 %".to_owned(),
        p if (99.0..100.0).contains(&p) => format!("{p:.1} %"),
        p => format!("{} %", short(p)),
    }
}

/// `part` of `whole` as a share; nothing of nothing is 0.
#[must_use]
pub fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "ports are far below 2^53")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A buffer size as one types it: `64K`, `16M`.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{}G", b >> 30),
        b if b >= 1 << 20 => format!("{}M", b >> 20),
        b => format!("{}K", b >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(28_232), "28,232");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(counted(1, "port"), "1 port");
        assert_eq!(counted(0, "port"), "0 ports");
    }

    #[test]
    fn durations() {
        let cases = [
            (0.000_05, "<0.1 ms"),
            (0.000_4, "0.4 ms"),
            (0.002, "2 ms"),
            (0.999_9, "1 s"),
            (2.5, "2.5 s"),
            (11.8, "12 s"),
            (551.0, "9 min"),
            (7199.0, "120 min"),
            (9000.0, "2.5 h"),
            (86400.0 * 3.2, "3 days"),
            (86400.0 * 3650.0, "10 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate(50.1), "50 a second");
        assert_eq!(rate(1.0), "1 a second");
        assert_eq!(rate(0.5), "30 a minute");
        assert_eq!(rate(2.0 / 3600.0), "2 an hour");
        assert_eq!(rate(1.0 / 86400.0), "1 a day");
    }

    #[test]
    fn percents_never_round_to_all_or_nothing() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.000_1), "<0.1 %");
        assert_eq!(percent(0.004), "0.4 %");
        assert_eq!(percent(0.02), "2 %");
        assert_eq!(percent(0.996), "99.6 %");
        assert_eq!(percent(0.999_99), ">99.9 %");
        assert_eq!(percent(1.0), "100 %");
    }

    #[test]
    fn sizes_and_shares() {
        assert_eq!(size(64 << 10), "64K");
        assert_eq!(size(16 << 20), "16M");
        assert_eq!(size(1 << 30), "1G");
        assert!((share(1, 4) - 0.25).abs() < f64::EPSILON);
        assert!(share(1, 0).abs() < f64::EPSILON);
    }
}

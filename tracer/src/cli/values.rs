//! Parses the values of options: lengths of time, sizes, network namespaces.

use super::NetnsArg;
use std::time::Duration;

/// The smallest buffer, in bytes.
pub const BUFFER_BYTES_MIN: u32 = 4 << 10;
/// The largest buffer, in bytes.
pub const BUFFER_BYTES_MAX: u32 = 1 << 30;

/// Parses `500ms`, `30s`, `1.5m`, `2h`.
///
/// # Errors
/// A sentence for the user, with examples.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a length of time; valid ones are 500ms, 30s, 5m, 2h".to_owned();
    let (number, unit) = split(text);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if !number.is_empty() => {
            return Err(format!("the unit is missing: {text}s is seconds, {text}m minutes"));
        }
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| wrong())
}

/// Parses `65536`, `64K`, `4M`, `1G` and rounds up to a power of two.
///
/// # Errors
/// A sentence for the user, with examples.
pub fn size(text: &str) -> Result<u32, String> {
    let wrong = || "not a size; valid ones are 64K, 4M, 1G".to_owned();
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| *bytes <= BUFFER_BYTES_MAX)
        .map(|bytes| bytes.max(BUFFER_BYTES_MIN).next_power_of_two())
        .ok_or_else(|| "too large; the most is 1G".to_owned())
}

/// Parses `self`, `all`, `4026531840`; `net:[4026531840]` is what links in /proc show.
///
/// # Errors
/// A sentence for the user, with examples.
pub fn netns(text: &str) -> Result<NetnsArg, String> {
    let number = text.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match text {
        "all" => Ok(NetnsArg::All),
        "self" => Ok(NetnsArg::Own),
        _ => number.parse().map(NetnsArg::Inode).map_err(|_| {
            "not a network namespace; valid ones are self, all, and an inode number such as 4026531840"
                .to_owned()
        }),
    }
}

/// The number in front, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn bad_durations_show_good_ones() {
        for text in ["banana", "", "s", "1.2.3s", "-5s", "5 s", "5d"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("30s"), "{text}: {error}");
        }
        assert!(duration("30").unwrap_err().contains("30s is seconds"));
        assert!(duration("99999999999999999999999h").is_err());
    }

    #[test]
    fn sizes_are_rounded_up_to_a_power_of_two() {
        assert_eq!(size("64K"), Ok(64 << 10));
        assert_eq!(size("4m"), Ok(4 << 20));
        assert_eq!(size("3MiB"), Ok(4 << 20));
        assert_eq!(size("1"), Ok(BUFFER_BYTES_MIN));
        assert_eq!(size("1G"), Ok(BUFFER_BYTES_MAX));
    }

    #[test]
    fn network_namespaces() {
        assert_eq!(netns("all"), Ok(NetnsArg::All));
        assert_eq!(netns("self"), Ok(NetnsArg::Own));
        for text in ["4026531840", "net:[4026531840]"] {
            assert_eq!(netns(text), Ok(NetnsArg::Inode(4_026_531_840)), "{text}");
        }
        for text in ["", "blue", "-1", "net:[1", "99999999999"] {
            assert!(netns(text).unwrap_err().contains("4026531840"), "{text}");
        }
    }

    #[test]
    fn bad_sizes_show_good_ones() {
        for text in ["banana", "", "M", "1.5M", "4X"] {
            assert!(size(text).unwrap_err().contains("4M"), "{text}");
        }
        assert!(size("2G").unwrap_err().contains("1G"));
        assert!(size("99999999999999999999G").is_err());
    }
}

//! `portleak explain`: what the error codes and states mean that people see when ports run out.
//!
//! The catalog is constant: it asks neither the machine nor a trace.

mod catalog;

use catalog::CATALOG;
use std::fmt;

/// One code, or several with the same meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its names, the usual one first.
    names: &'static [&'static str],
    /// Its numbers: errno, Winsock error, NTSTATUS or event id.
    numbers: &'static [u32],
    /// The operating system.
    system: &'static str,
    /// The system's message, shortened, or a definition.
    message: &'static str,
    /// Its meaning, by the call that returned it or by its cause.
    means: &'static [(&'static str, &'static str)],
    /// What to do.
    todo: &'static [(&'static str, &'static str)],
}

/// A code that the catalog does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{code:?} is not a known code\n  remedy: portleak explain, without a code, lists the codes \
     that concern ports"
)]
pub struct Unknown {
    code: String,
}

/// Looks up a code: a name, a number in decimal or hexadecimal (also as an HRESULT), or words of the
/// system's message.
///
/// # Errors
/// When the catalog does not have it.
pub fn look_up(code: &str) -> Result<&'static Entry, Unknown> {
    let words = code.trim().trim_matches(['"', '\'', '.']).to_lowercase();
    let by_name = || CATALOG.iter().find(|entry| entry.names.iter().any(|name| name.to_lowercase() == words));
    let by_number = || number(&words).and_then(|n| CATALOG.iter().find(|entry| entry.numbers.contains(&n)));
    let by_message = || {
        let has_words = words.contains(' ');
        CATALOG.iter().find(|entry| has_words && entry.message_in_one_line().to_lowercase().contains(&words))
    };
    by_name().or_else(by_number).or_else(by_message).ok_or_else(|| Unknown { code: code.to_owned() })
}

/// All codes, one on a line.
#[must_use]
pub fn contents() -> String {
    let line = |entry: &Entry| {
        let (first, more) =
            entry.message.split_once('\n').map_or((entry.message, ""), |(line, _)| (line, " …"));
        format!("  {:<31}{:<9}{first}{more}\n", entry.names.join(", "), entry.system)
    };
    let all: String = CATALOG.iter().map(line).collect();
    format!("Codes that concern ports; portleak explain CODE explains one:\n{all}")
}

/// A number as people copy it: `10055`, `0xC0000209`, `c0000209`, `-1073741303`, `0x80072747`.
fn number(words: &str) -> Option<u32> {
    let signed = || words.parse::<i32>().ok().map(i32::cast_unsigned);
    let hexadecimal = || {
        let digits = words.strip_prefix("0x").or_else(|| Some(words).filter(|words| words.len() == 8))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let number = words.parse().ok().or_else(signed).or_else(hexadecimal)?;
    // HRESULT_FROM_WIN32 (winerror.h).
    Some(if number >> 16 == 0x8007 { number & 0xffff } else { number })
}

impl Entry {
    fn message_in_one_line(&self) -> String {
        self.message.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = if self.system == "both" { "Linux and Windows" } else { self.system };
        writeln!(f, "{} on {system}", self.names.join(", "))?;
        writeln!(f, "  {}", self.message)?;
        for (when, what) in self.means {
            writeln!(f, "\n{when}\n  {what}")?;
        }
        writeln!(f, "\nWhat to do")?;
        let width = self.todo.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        self.todo.iter().try_for_each(|(command, why)| writeln!(f, "  {command:<width$}  {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(code: &str) -> &'static str {
        look_up(code).unwrap().names[0]
    }

    #[test]
    fn a_code_is_found_however_it_was_copied() {
        for code in ["EADDRNOTAVAIL", "eaddrnotavail", "99", "Cannot assign requested address"] {
            assert_eq!(name(code), "EADDRNOTAVAIL", "{code}");
        }
        for code in ["0xC0000209", "c0000209", "-1073741303", "3221225993"] {
            assert_eq!(name(code), "STATUS_TOO_MANY_ADDRESSES", "{code}");
        }
        for code in ["10055", "WSAENOBUFS", "0x80072747", "-2147014841", "lacked sufficient buffer space"] {
            assert_eq!(name(code), "WSAENOBUFS", "{code}");
        }
        assert_eq!(name("EWOULDBLOCK"), "EAGAIN");
        assert_eq!(name(" 'time_wait' "), "TIME_WAIT");
    }

    #[test]
    fn every_promised_code_is_there() {
        for code in
            ["EADDRNOTAVAIL", "EADDRINUSE", "EAGAIN", "0xC0000209", "10055", "10048", "4227", "4231", "4266"]
        {
            assert!(look_up(code).is_ok(), "{code}");
        }
    }

    #[test]
    fn an_unknown_code_has_a_remedy() {
        let said = look_up("0x5").unwrap_err().to_string();
        assert!(said.contains("\"0x5\"") && said.contains("remedy: portleak explain"), "{said}");
        assert!(look_up("").is_err());
        assert!(look_up("a").is_err(), "a letter is no message");
    }

    #[test]
    fn names_and_numbers_are_unique() {
        let mut names: Vec<_> = CATALOG.iter().flat_map(|entry| entry.names).collect();
        let mut numbers: Vec<_> = CATALOG.iter().flat_map(|entry| entry.numbers).collect();
        let counts = (names.len(), numbers.len());
        names.sort_unstable();
        names.dedup();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((names.len(), numbers.len()), counts);
    }

    #[test]
    fn the_catalog_fits_a_terminal() {
        for entry in CATALOG {
            let text = entry.to_string();
            for line in text.lines() {
                assert!(line.len() <= 100, "{line}");
            }
            assert!(!entry.todo.is_empty(), "{}", entry.names[0]);
        }
        assert!(contents().lines().all(|line| line.len() <= 140));
    }
}

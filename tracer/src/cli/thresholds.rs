//! `--thresholds FILE`: a TOML file that changes some of a profile's thresholds.

use crate::engine::Profile;
use crate::engine::detector::{Thresholds, Unknown};
use std::path::Path;
use std::{fs, io};
use toml::Table;

/// The thresholds file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ThresholdsError {
    /// It cannot be read.
    #[error("cannot read the thresholds in {file}: {why}\n  remedy: give the path of a TOML file")]
    Read {
        /// Its path.
        file: String,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// It contains something that is not understood.
    #[error(
        "cannot understand the thresholds in {file}: {why}\n  remedy: docs/thresholds.md lists the names"
    )]
    Parse {
        /// Its path.
        file: String,
        /// What.
        why: String,
    },
}

/// The profile's thresholds with the changes in a file.
///
/// # Errors
/// When the file cannot be read, is not TOML, or names an unknown threshold.
pub fn read(file: &Path, profile: Profile) -> Result<Thresholds, ThresholdsError> {
    let name = || file.display().to_string();
    let text = fs::read_to_string(file).map_err(|why| ThresholdsError::Read { file: name(), why })?;
    changed(&text, profile).map_err(|why| ThresholdsError::Parse { file: name(), why })
}

fn changed(text: &str, profile: Profile) -> Result<Thresholds, String> {
    let changes: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let changes = serde_json::to_value(changes).map_err(|error| error.to_string())?;
    Thresholds::with(profile, &changes, Unknown::Refuse).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_file_is_the_profiles() {
        let text = "in_use_pool_share = 0.5\n[close_wait]\nleak = 20\n[abandoned]\nslow_span_s = 600\n";
        let changed = changed(text, Profile::Production).unwrap();
        let usual = Thresholds::of(Profile::Production);
        assert_eq!((changed.in_use_pool_share, changed.close_wait.leak), (0.5, 20));
        assert_eq!(changed.abandoned.slow_span_s, 600.0);
        assert_eq!(changed.close_wait.leak_age_s, usual.close_wait.leak_age_s);
        assert_eq!(super::changed("", Profile::Session), Ok(Thresholds::of(Profile::Session)));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let unknown = changed("[abandoned]\nsurvivers = 3\n", Profile::Session).unwrap_err();
        assert!(unknown.contains("abandoned.survivers"), "{unknown}");
        let wrong = changed("calm_span_s = \"long\"", Profile::Session).unwrap_err();
        assert!(wrong.contains("calm_span_s") && wrong.contains("long"), "{wrong}");
        assert!(changed("calm_span_s = ", Profile::Session).is_err());
    }

    /// `10`, or `10 (4)` where the session profile differs.
    fn cell(path: &[&str]) -> String {
        let value = |profile| {
            let all = serde_json::to_value(Thresholds::of(profile)).unwrap();
            path.iter().fold(all, |value, name| value[*name].clone()).as_f64().unwrap()
        };
        let (production, session) = (value(Profile::Production), value(Profile::Session));
        if production == session { format!("{production}") } else { format!("{production} ({session})") }
    }

    #[test]
    fn the_manual_lists_every_number() {
        const SHARED: [[&str; 3]; 2] =
            [["abandoned", "unknown", "mixed"], ["close_wait", "syn_sent", "bound"]];
        let manual = include_str!("../../docs/thresholds.md");
        let all = serde_json::to_value(Thresholds::of(Profile::Production)).unwrap();
        for (name, value) in all.as_object().unwrap() {
            let Some(section) = value.as_object() else {
                let row = format!("| `{name}` | {} | ", cell(&[name]));
                assert!(manual.contains(&row), "{row}");
                continue;
            };
            let shared = SHARED.iter().find(|sections| sections.contains(&name.as_str()));
            for number in section.keys() {
                let row = match shared {
                    Some(sections) => {
                        let cells = sections.map(|section| cell(&[section, number])).join(" | ");
                        format!("| `{number}` | {cells} | ")
                    }
                    None => format!("| `{name}.{number}` | {} | ", cell(&[name, number])),
                };
                assert!(manual.contains(&row), "{row}");
            }
        }
    }
}

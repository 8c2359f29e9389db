//! A profile's thresholds with some numbers changed.
//!
//! A user's file is strict: a misspelt name is an error. The head of a recording is not: it may come
//! from a build that knew other numbers.

use super::Thresholds;
use crate::engine::Profile;
use crate::engine::detector::features::SECONDS;
use serde_json::{Map, Value};

/// What to do with names that there is no threshold of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Leave them out, as well as numbers that are none.
    Ignore,
    /// Name them.
    Refuse,
}

/// A change that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Misspelt.
    #[error("there is no threshold named {0}")]
    NoSuch(String),
    /// Not a number that can stand there.
    #[error("{name} must be {wanted}, not {found}")]
    Wrong {
        /// The threshold.
        name: String,
        /// What can stand there.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
}

impl Thresholds {
    /// The profile's thresholds with `changes`, an object of numbers and sections of numbers.
    ///
    /// # Errors
    /// The first change that cannot be made; with [`Unknown::Ignore`] never.
    pub fn with(profile: Profile, changes: &Value, unknown: Unknown) -> Result<Self, ThresholdError> {
        let usual = Self::of(profile);
        // Thresholds are numbers and sections of numbers, which JSON can hold.
        let Ok(Value::Object(mut all)) = serde_json::to_value(usual) else {
            return Ok(usual);
        };
        let mut refused = Vec::new();
        match changes {
            Value::Object(changes) => overlay(&mut all, changes, "", &mut refused),
            other => refused.push(wrong("the file", "sections of thresholds", other)),
        }
        let changed: Self = serde_json::from_value(Value::Object(all)).unwrap_or(usual);
        match refused.into_iter().next() {
            Some(error) if unknown == Unknown::Refuse => Err(error),
            _ => Ok(changed),
        }
    }
}

fn overlay(
    all: &mut Map<String, Value>,
    changes: &Map<String, Value>,
    within: &str,
    refused: &mut Vec<ThresholdError>,
) {
    for (name, change) in changes {
        let path = format!("{within}{name}");
        match (all.get_mut(name), change) {
            (None, _) => refused.push(ThresholdError::NoSuch(path)),
            (Some(Value::Object(section)), Value::Object(change)) => {
                overlay(section, change, &format!("{path}."), refused);
            }
            (Some(Value::Object(_)), other) => refused.push(wrong(&path, "a section", other)),
            (Some(old), change) => match number(&path, old, change) {
                Ok(new) => *old = new,
                Err(wanted) => refused.push(wrong(&path, wanted, change)),
            },
        }
    }
}

/// The number that stands in place of `old`, or what is wanted there.
fn number(path: &str, old: &Value, change: &Value) -> Result<Value, &'static str> {
    let number = if old.is_f64() {
        let float = change.as_f64().filter(|value| value.is_finite() && *value >= 0.0);
        float.map(Value::from).ok_or("a number that is not negative")
    } else {
        let whole = change.as_u64().filter(|&value| value <= u64::from(u32::MAX));
        whole.map(Value::from).ok_or("a whole number that is not negative")
    }?;
    let limit = LIMITS.iter().find(|limit| limit.path == path);
    let within =
        |limit: &&Limit| number.as_f64().is_some_and(|value| value >= limit.least && value <= limit.most);
    match limit {
        Some(limit) if !within(&limit) => Err(limit.wanted),
        _ => Ok(number),
    }
}

/// What a rule can work with.
struct Limit {
    path: &'static str,
    least: f64,
    most: f64,
    wanted: &'static str,
}

const LIMITS: [Limit; 11] = [
    within_flows("abandoned.fast_span_s"),
    within_flows("unknown.fast_span_s"),
    within_flows("mixed.fast_span_s"),
    within_flows("growing.span_s"),
    within_flows("growing.slow_span_s"),
    within_flows("growing.rate_span_s"),
    Limit { path: "idle.sample", least: 1.0, most: 64.0, wanted: "from 1 to 64" },
    Limit { path: "shape.span_step", least: 1.05, most: f64::MAX, wanted: "at least 1.05" },
    Limit { path: "shape.span_min_s", least: 1.0, most: f64::MAX, wanted: "at least 1" },
    Limit { path: "shape.stuck_span_s", least: 1.0, most: f64::MAX, wanted: "at least 1" },
    Limit { path: "survival.memory_s", least: 60.0, most: f64::MAX, wanted: "at least 60" },
];

/// Flows are kept for so many seconds.
const fn within_flows(path: &'static str) -> Limit {
    Limit { path, least: 1.0, most: SECONDS as f64, wanted: "from 1 to 64" }
}

fn wrong(name: &str, wanted: &'static str, found: &Value) -> ThresholdError {
    ThresholdError::Wrong { name: name.to_owned(), wanted, found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PROFILES: [Profile; 2] = [Profile::Session, Profile::Production];

    #[test]
    fn every_number_can_be_set_and_the_others_stay() {
        for profile in PROFILES {
            let Value::Object(all) = serde_json::to_value(Thresholds::of(profile)).unwrap() else {
                unreachable!()
            };
            let names = all.iter().flat_map(|(name, value)| match value {
                Value::Object(section) => {
                    section.keys().map(|key| json!({ name: { key: at_most_64(key) } })).collect()
                }
                _ => vec![json!({ name: 7 })],
            });
            let names: Vec<_> = names.collect();
            assert!(names.len() > 80, "{}", names.len());
            for change in names {
                let changed = Thresholds::with(profile, &change, Unknown::Refuse).unwrap();
                let differences = differences(&changed, &Thresholds::of(profile));
                assert!(differences <= 1, "{change}: {differences}");
            }
        }
    }

    /// A value that every threshold can have.
    fn at_most_64(key: &str) -> u32 {
        if key == "memory_s" { 64 } else { 7 }
    }

    fn differences(one: &Thresholds, other: &Thresholds) -> usize {
        let text = |thresholds| serde_json::to_string_pretty(thresholds).unwrap();
        let (one, other): (String, String) = (text(one), text(other));
        one.lines().zip(other.lines()).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let refused =
            |change| Thresholds::with(Profile::Session, &change, Unknown::Refuse).unwrap_err().to_string();
        assert_eq!(
            refused(json!({"abandoned": {"survivers": 3}})),
            "there is no threshold named abandoned.survivers"
        );
        assert_eq!(
            refused(json!({"calm_span_s": "long"})),
            "calm_span_s must be a whole number that is not negative, not \"long\""
        );
        assert!(refused(json!({"bound": {"leak": 1.5}})).starts_with("bound.leak must be a whole number"));
        assert!(refused(json!({"survival": {"memory_s": -1}})).starts_with("survival.memory_s must be"));
        assert!(refused(json!({"survival": 3})).starts_with("survival must be a section"));
        assert!(refused(json!({"growing": {"slow_span_s": 100}})).ends_with("from 1 to 64, not 100"));
    }

    #[test]
    fn another_builds_numbers_are_taken_as_far_as_they_are_known() {
        let change = json!({"of_tomorrow": 3, "calm_span_s": 7, "bound": {"leak": "x", "suspected": 2}});
        for profile in PROFILES {
            let changed = Thresholds::with(profile, &change, Unknown::Ignore).unwrap();
            let usual = Thresholds::of(profile);
            assert_eq!((changed.calm_span_s, changed.bound.suspected), (7, 2));
            assert_eq!((changed.bound.leak, changed.survival), (usual.bound.leak, usual.survival));
        }
    }
}

//! The engine's configuration.

use super::detector::{Thresholds, Unknown};
use super::scope::Scope;
use serde::{Deserialize, Deserializer, Serialize};

/// How quick to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// An engineer watches: verdicts within minutes, some of them wrong.
    #[default]
    Session,
    /// Nobody watches: no false alarms.
    Production,
}

/// The engine's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// How quickly verdicts come.
    pub profile: Profile,
    /// Whose ports to report.
    pub scope: Scope,
    /// Other thresholds than the profile's.
    pub thresholds: Option<Thresholds>,
}

impl Config {
    /// The thresholds that verdicts depend on.
    pub(super) fn effective_thresholds(&self) -> Thresholds {
        self.thresholds.unwrap_or(Thresholds::of(self.profile))
    }
}

/// The header of a recording may come from a build that knew other thresholds: unknown ones are left
/// out, missing ones are the profile's.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Stored {
            profile: Profile,
            scope: Scope,
            thresholds: Option<serde_json::Value>,
        }
        let Stored { profile, scope, thresholds } = Stored::deserialize(deserializer)?;
        let known = |stored| Thresholds::with(profile, &stored, Unknown::Ignore).ok();
        Ok(Self { profile, scope, thresholds: thresholds.and_then(known) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_comes_back_as_it_was_stored() {
        let mut thresholds = Thresholds::of(Profile::Production);
        thresholds.shape.gaps_max = 5.5;
        thresholds.bound.leak = 99;
        let config =
            Config { profile: Profile::Production, thresholds: Some(thresholds), ..Config::default() };
        let stored = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<Config>(stored).unwrap(), config);
    }

    #[test]
    fn another_builds_thresholds_are_completed_by_the_profile() {
        let stored = json!({"profile": "production", "thresholds": {"calm_span_s": 7, "of_tomorrow": 1}});
        let config: Config = serde_json::from_value(stored).unwrap();
        let expected = Thresholds { calm_span_s: 7, ..Thresholds::of(Profile::Production) };
        assert_eq!(config.thresholds, Some(expected));
    }
}

//! The settings of one of many jobs: what the jobs of a plan have in common is held once.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use shared::settings::Settings;

/// Settings by name, stored as a map. In memory they are a few own values over those of another job: a sweep has many jobs
/// that differ in little, and each has dozens of settings.
#[derive(Clone)]
pub struct JobSettings {
    /// All names, with the values of those that are not in `own`.
    base: Arc<Settings>,
    /// Names that are in `base`, in its order.
    own: Box<[(String, Value)]>,
}

impl JobSettings {
    pub fn get(&self, name: &str) -> Option<&Value> {
        let own = self.own.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        own.or_else(|| self.base.get(name))
    }

    /// In the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        let mut own = self.own.iter().peekable();
        self.base.iter().map(move |(name, common)| {
            let value = own.next_if(|(own, _)| own == name).map_or(common, |(_, value)| value);
            (name, value)
        })
    }

    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.base.keys()
    }

    /// As a map of their own, such as [`shared::trainer::TrainerKind`] takes.
    pub fn to_map(&self) -> Settings {
        let mut all = Settings::clone(&self.base);
        all.extend(self.own.iter().cloned());
        all
    }

    /// The same settings, sharing with `other` what is equal in both.
    #[must_use]
    pub fn sharing_with(self, other: &Self) -> Self {
        if !self.keys().eq(other.keys()) {
            return self;
        }
        let differs = |((name, value), (_, common)): ((&String, &Value), (_, &Value))| {
            (value != common).then(|| (name.clone(), value.clone()))
        };
        let own = self.iter().zip(other.base.iter()).filter_map(differs).collect();
        Self { base: other.base.clone(), own }
    }
}

impl From<Settings> for JobSettings {
    fn from(settings: Settings) -> Self {
        Self { base: Arc::new(settings), own: Box::default() }
    }
}

impl Index<&str> for JobSettings {
    type Output = Value;

    /// # Panics
    /// When there is no such setting.
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or_else(|| panic!("there is no setting `{name}`"))
    }
}

impl PartialEq for JobSettings {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for JobSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for JobSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for JobSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Settings::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> JobSettings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn sharing_changes_nothing_that_can_be_seen() {
        let first = settings(json!({"a": 1, "b": "x", "c": null, "d": [2]}));
        let second = json!({"a": 1, "b": "y", "c": 3, "d": [2]});
        let shared = settings(second.clone()).sharing_with(&first);
        let third = settings(json!({"a": 5, "b": "x", "c": null, "d": [2]})).sharing_with(&shared);
        assert!(Arc::ptr_eq(&first.base, &shared.base) && Arc::ptr_eq(&first.base, &third.base));
        assert_eq!((shared.own.len(), third.own.len()), (2, 1));
        assert_eq!(serde_json::to_string(&shared).unwrap(), second.to_string());
        assert_eq!(serde_json::to_value(shared.to_map()).unwrap(), second);
        assert_eq!(shared, settings(second.clone()));
        assert_ne!(shared, first);
        assert_eq!((&shared["c"], shared.get("d"), shared.get("e")), (&json!(3), Some(&json!([2])), None));
        assert_eq!(format!("{shared:?}"), format!("{:?}", settings(second)));
    }

    #[test]
    fn other_names_are_not_shared() {
        let first = settings(json!({"a": 1, "b": 2}));
        for other in [json!({"a": 1}), json!({"a": 1, "b": 2, "c": 3}), json!({"a": 1, "c": 2}), json!({})] {
            let own = settings(other.clone()).sharing_with(&first);
            assert_eq!(serde_json::to_value(&own).unwrap(), other);
        }
    }
}

//! What of a job's settings may tell how long it takes: each setting has a few levels, and jobs whose settings have the
//! same levels have one profile. No setting is known by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use shared::settings::Settings;

/// Values of a setting that are told apart. A further number counts as the nearest of them, and other values as none.
const MOST_LEVELS: usize = 8;

/// Settings that are looked at.
const MOST_SETTINGS: usize = 128;

/// What may tell how long a job takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Profile {
    /// Jobs of one class take the same time per unit of work, as far as their trainer knows.
    pub(super) class: u32,
    /// The level of each setting, by its place; 0 is none. Settings beyond the end have none.
    levels: Box<[u8]>,
}

impl Profile {
    /// The settings that have a level, by place.
    pub(super) fn levels(&self) -> impl Iterator<Item = (usize, u8)> {
        self.levels.iter().copied().enumerate().filter(|(_, level)| *level > 0)
    }
}

#[derive(Debug, Clone)]
struct Setting {
    place: usize,
    /// Level 1 is the first one.
    values: Vec<Value>,
}

/// All profiles that occur, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Profiles {
    settings: BTreeMap<String, Setting>,
    numbers: BTreeMap<Arc<Profile>, u32>,
    by_number: Vec<Arc<Profile>>,
}

impl Profiles {
    /// The number of the profile of these settings.
    pub(super) fn number(&mut self, class: u32, settings: &Settings) -> u32 {
        let mut levels = vec![0; self.settings.len()];
        for (name, value) in settings {
            let (place, level) = self.level(name, value);
            if place >= levels.len() && level > 0 {
                levels.resize(place + 1, 0);
            }
            if let Some(known) = levels.get_mut(place) {
                *known = level;
            }
        }
        let end = levels.iter().rposition(|&level| level > 0).map_or(0, |last| last + 1);
        levels.truncate(end);
        let profile = Profile { class, levels: levels.into() };
        if let Some(&number) = self.numbers.get(&profile) {
            return number;
        }
        let (number, profile) = (self.by_number.len() as u32, Arc::new(profile));
        self.by_number.push(profile.clone());
        self.numbers.insert(profile, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &Profile {
        &self.by_number[number as usize]
    }

    /// The classes that occur.
    pub(super) fn classes(&self) -> BTreeSet<u32> {
        self.by_number.iter().map(|profile| profile.class).collect()
    }

    /// The levels of those settings in which jobs differ, by place; settings with few levels first.
    pub(super) fn differing(&self) -> Vec<(usize, BTreeSet<u8>)> {
        let mut levels: BTreeMap<usize, BTreeSet<u8>> = BTreeMap::new();
        let mut having: BTreeMap<usize, usize> = BTreeMap::new();
        for (place, level) in self.by_number.iter().flat_map(|profile| profile.levels()) {
            levels.entry(place).or_default().insert(level);
            *having.entry(place).or_default() += 1;
        }
        let all = self.by_number.len();
        let mut differing: Vec<_> =
            levels.into_iter().filter(|(place, seen)| seen.len() > 1 || having[place] < all).collect();
        differing.sort_by_key(|(place, seen)| (seen.len(), *place));
        differing
    }

    /// Place and level of a setting's value.
    fn level(&mut self, name: &str, value: &Value) -> (usize, u8) {
        let place = self.settings.len();
        if !self.settings.contains_key(name) {
            if place >= MOST_SETTINGS {
                return (place, 0);
            }
            self.settings.insert(name.to_owned(), Setting { place, values: Vec::new() });
        }
        let Some(Setting { place, values }) = self.settings.get_mut(name) else { return (place, 0) };
        let known = values.iter().position(|known| known == value);
        let level = match known {
            Some(index) => index + 1,
            None if values.len() < MOST_LEVELS => {
                values.push(value.clone());
                values.len()
            }
            None => nearest(values, value).map_or(0, |index| index + 1),
        };
        (*place, level as u8)
    }
}

/// The number nearest to `value`, if that is one.
fn nearest(values: &[Value], value: &Value) -> Option<usize> {
    let value = value.as_f64()?;
    let distances = values.iter().enumerate().filter_map(|(index, known)| Some((index, known.as_f64()?)));
    let distances = distances.map(|(index, known)| (index, (known - value).abs()));
    distances.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(profiles: &mut Profiles, settings: Value) -> u32 {
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        profiles.number(0, &settings)
    }

    #[test]
    fn equal_settings_have_one_profile() {
        let mut profiles = Profiles::default();
        let first = number(&mut profiles, json!({"a": "x", "b": 1}));
        assert_ne!(first, number(&mut profiles, json!({"a": "y", "b": 1})));
        assert_eq!(first, number(&mut profiles, json!({"a": "x", "b": 1})));
        // A setting that earlier jobs did not have.
        assert_ne!(first, number(&mut profiles, json!({"a": "x", "b": 1, "c": true})));
        let places: Vec<usize> = profiles.differing().into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [2, 0], "`b` never differs");
    }

    #[test]
    fn numbers_beyond_the_first_levels_count_as_the_nearest() {
        let mut profiles = Profiles::default();
        let numbers: Vec<u32> =
            (0..1000).map(|seed| number(&mut profiles, json!({ "seed": seed }))).collect();
        assert_eq!((numbers[3], numbers[7], numbers[999]), (3, 7, 7));
        let texts: Vec<u32> =
            (0..10).map(|n| number(&mut profiles, json!({ "name": n.to_string() }))).collect();
        assert_eq!(texts[8], texts[9]);
        assert_ne!(texts[7], texts[8]);
    }
}

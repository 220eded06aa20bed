//! The kinds of trainers that this program knows. A new kind gets a line here.

use crate::empty::Empty;
use crate::mtl::Mtl;
use crate::trainer::TrainerKind;

/// Every kind; the first is used if a sweep file names none.
pub static KINDS: [&dyn TrainerKind; 2] = [&Mtl, &Empty];

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static dyn TrainerKind> {
    KINDS.into_iter().find(|kind| kind.id().kind.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SettingError;

    #[test]
    fn every_kind_accepts_its_own_settings_and_no_others() {
        for kind in KINDS {
            let name = kind.id().kind;
            assert_eq!(find(name.as_str()).map(TrainerKind::id), Some(kind.id()));
            assert!(kind.problems(kind.defaults()).is_empty(), "{name}");
            for (setting, value) in kind.defaults() {
                assert_eq!(kind.normal(setting, value).as_ref(), Ok(value), "{name}: {setting}");
            }
            assert!(matches!(kind.normal("alhpa", &1.into()), Err(SettingError::Unknown { .. })));
            for (preset, settings) in kind.presets() {
                assert!(settings.keys().eq(kind.defaults().keys()), "{name}: {preset}");
            }
            assert_eq!(
                kind.job(kind.defaults(), &"d".repeat(64)).inputs.dataset.is_some(),
                kind.needs_dataset()
            );
        }
        assert!(find("unknown").is_none());
    }
}

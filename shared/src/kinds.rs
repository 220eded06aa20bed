//! The kinds of trainers that this program knows. A new kind gets a line here.

use crate::empty::Empty;
use crate::job::Job;
use crate::mtl::Mtl;
use crate::trainer::TrainerKind;

/// Every kind; the first is used if a sweep file names none.
pub static KINDS: [&dyn TrainerKind; 2] = [&Mtl, &Empty];

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static dyn TrainerKind> {
    KINDS.into_iter().find(|kind| kind.id().kind.as_str() == name)
}

/// The job that is trained like `job`, epoch by epoch, but for `epochs` epochs: see [`TrainerKind::lasting`]. `None` for a
/// kind that this program does not know.
pub fn lasting(job: &Job, epochs: u32) -> Option<Job> {
    let settings = find(job.trainer.kind.as_str())?.lasting(&job.settings, epochs)?;
    Some(Job { settings, ..job.clone() })
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

    #[test]
    fn jobs_that_differ_in_their_epochs_alone_are_told_from_others() {
        for kind in KINDS {
            let with = |name: &str, value: u32| {
                let mut settings = kind.defaults().clone();
                settings.insert(name.to_owned(), value.into());
                kind.job(&settings, &"d".repeat(64))
            };
            let (short, long, other) = (with("epochs", 4), with("epochs", 12), with("seed", 99));
            assert_eq!(lasting(&long, 4).as_ref().map(Job::id), Some(short.id()));
            assert_eq!(lasting(&short, 12).as_ref().map(Job::id), Some(long.id()));
            assert_ne!(lasting(&other, 4).as_ref().map(Job::id), Some(short.id()));
        }
    }
}

//! The dataset of a run: opened here, and uploaded to the server, so that workers on other machines need no shared
//! filesystem. The only file of the service that knows what a dataset is made of.

use std::path::{Path, PathBuf};

use shared::bus::{Bucket, Bus, BusError};
use shared::causes::in_words;
use shared::pack::{self, Pack, PackError, Split};
use shared::predictions::SampleList;
use shared::protocol::{PackManifest, subjects};
use shared::result::{TEST, VALIDATION};
use shared::trainer::DatasetSize;

/// A dataset on this machine.
#[derive(Debug)]
pub(super) struct Dataset {
    pack: Pack,
}

impl Dataset {
    pub(super) fn open(folder: &Path) -> Result<Self, PackError> {
        Ok(Self { pack: Pack::open(folder)? })
    }

    pub(super) fn size(&self) -> DatasetSize {
        DatasetSize { train: self.pack.len(Split::Train), validation: self.pack.len(Split::Validation) }
    }

    /// The sample lists of the scored splits that it has, by the names of the predictions over them.
    pub(super) fn sample_lists(&self) -> Vec<(&'static str, SampleList)> {
        let scored = [(VALIDATION, Split::Validation), (TEST, Split::Test)];
        let there = scored.into_iter().filter(|(_, split)| !self.pack.is_empty(*split));
        there.map(|(name, split)| (name, self.pack.samples(split))).collect()
    }
}

/// Uploads the dataset's files, unless they are already there. A failure is only logged, because workers that have the
/// dataset do not need the upload.
pub(super) async fn share(bus: Bus, folder: PathBuf) {
    match store(&bus, &folder).await {
        Ok(()) => tracing::debug!("the dataset is on the server"),
        Err(error) => {
            let why = in_words(error.as_ref());
            tracing::warn!("cannot upload the dataset, so workers on other machines need --data: {why}");
        }
    }
}

async fn store(bus: &Bus, dir: &Path) -> anyhow::Result<()> {
    let digest = Pack::open(dir)?.digest().to_owned();
    let key = subjects::pack_key(&digest);
    match bus.read::<PackManifest>(&key, PackManifest::VERSION).await {
        Ok(_) => return Ok(()),
        Err(BusError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut files = Vec::new();
    for path in pack::files(dir) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let file = bus.put_file(Bucket::Packs, &format!("{digest}.{name}"), &path).await?;
        files.push((name, file));
    }
    bus.write(&key, &PackManifest { v: PackManifest::VERSION, digest, files }).await?;
    Ok(())
}

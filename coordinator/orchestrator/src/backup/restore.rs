//! Making a state directory of a backup.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::books::{JobRecord, JobState};
use shared::bus::{Bus, BusError};
use shared::protocol::subjects;
use shared::version::{DecodeError, Versions};

use super::manifest::Manifest;
use super::{BLOBS, BackupError, MANIFEST, PartialFolder, SUMS, Summary, Tell, io};
use crate::broker::{self, Broker, BrokerError};
use crate::home::Home;

/// Creates the state directory `place`, which must not exist, from the backup in `src`. The whole backup is verified
/// first.
pub async fn restore(src: &Path, place: &Path, tell: Tell<'_>) -> Result<Summary, BackupError> {
    super::require_free(place)?;
    let sums = read_sums(src)?;
    let manifest = read_manifest(src, &sums)?;
    for (name, digest) in &sums {
        verify(src, name, digest)?;
    }
    let partial = PartialFolder::beside(place)?;
    let home = Home::new(&partial.root);
    let lock = home.lock().map_err(BrokerError::from)?;
    let broker = Broker::start(&home).await?;
    let filled = fill(src, &manifest, &broker, tell).await;
    broker.stop().await;
    drop(lock);
    let summary = filled?;
    partial.keep()?;
    Ok(summary)
}

/// The names of all files with their digests.
fn read_sums(src: &Path) -> Result<BTreeMap<String, String>, BackupError> {
    let path = src.join(SUMS);
    let unusable = |problem: String| BackupError::Unusable { path: src.to_owned(), problem };
    let text = std::fs::read_to_string(&path).map_err(|error| unusable(format!("{SUMS}: {error}")))?;
    let parse = |line: &str| {
        let (digest, name) = line.split_once("  ")?;
        // A backup has no other files, and a name must not lead out of it.
        let known = name == MANIFEST || name.strip_prefix("blobs/") == Some(digest);
        (known && digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| (name.to_owned(), digest.to_owned()))
    };
    text.lines()
        .map(|line| parse(line).ok_or_else(|| unusable(format!("{SUMS} has the line `{line}`"))))
        .collect()
}

/// The manifest, read after its version, with every blob among the files.
fn read_manifest(src: &Path, sums: &BTreeMap<String, String>) -> Result<Manifest, BackupError> {
    let path = src.join(MANIFEST);
    let digest = sums.get(MANIFEST).ok_or_else(|| BackupError::Unusable {
        path: src.to_owned(),
        problem: format!("{SUMS} does not list {MANIFEST}"),
    })?;
    verify(src, MANIFEST, digest)?;
    let damaged = |problem: String| BackupError::Damaged { path: path.clone(), problem };
    let bytes = std::fs::read(&path).map_err(io(&path))?;
    let decoded = Versions::up_to(Manifest::VERSION).decode(&bytes);
    let manifest: Manifest = decoded.map_err(|error| match error {
        DecodeError::Version(source) => BackupError::Version { path: src.to_owned(), source },
        DecodeError::Json(error) => damaged(error.to_string()),
    })?;
    for stored in &manifest.blobs {
        let name = &stored.blob.name;
        if stored.stem().is_none() {
            return Err(damaged(format!("`{name}` is not the name of a blob")));
        }
        if !sums.contains_key(&format!("{BLOBS}/{}", stored.blob.sha256)) {
            return Err(damaged(format!("{SUMS} does not list the bytes of {name}")));
        }
    }
    Ok(manifest)
}

fn verify(src: &Path, name: &str, digest: &str) -> Result<(), BackupError> {
    let path = src.join(name);
    let mut file = File::open(&path)
        .map_err(|error| BackupError::Damaged { path: path.clone(), problem: error.to_string() })?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(io(&path))? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    if hex::encode(hash.finalize()) == digest {
        Ok(())
    } else {
        Err(BackupError::Damaged { path, problem: "its digest is not the one in SHA256SUMS".to_owned() })
    }
}

async fn fill(
    src: &Path,
    manifest: &Manifest,
    broker: &Broker,
    tell: Tell<'_>,
) -> Result<Summary, BackupError> {
    let bus = broker::connect(&broker.endpoint()?, "ferry-restore").await?;
    let total = (manifest.blobs.len() + manifest.entries.len()) as u64;
    let mut entered = 0;
    let mut advance = || {
        entered += 1;
        tell(entered, total);
    };
    let mut summary = Summary::default();
    for stored in &manifest.blobs {
        let path = src.join(BLOBS).join(&stored.blob.sha256);
        let bytes = Bytes::from(std::fs::read(&path).map_err(io(&path))?);
        let stem = stored.stem().unwrap_or_default();
        let made = bus.put_blob(stored.store.bucket(), stem, bytes).await?;
        if made != stored.blob {
            let problem = format!("it became {}, not {}", made.name, stored.blob.name);
            return Err(BackupError::Damaged { path, problem });
        }
        summary.blobs += 1;
        summary.bytes += made.size;
        advance();
    }
    for entry in &manifest.entries {
        enter(&bus, &entry.key, &entry.value, &mut summary).await?;
        advance();
    }
    Ok(summary)
}

/// Enters a value into the books; a record that cannot be read is refused before it becomes one of theirs.
async fn enter(
    bus: &Bus,
    key: &str,
    value: &serde_json::Value,
    summary: &mut Summary,
) -> Result<(), BackupError> {
    if subjects::job_of_record_key(key).is_some() {
        let what = || key.to_owned();
        let record = Versions::up_to(JobRecord::VERSION).decode(value.to_string().as_bytes());
        let record: JobRecord = record.map_err(|error| match error {
            DecodeError::Version(source) => BusError::Version { what: what(), source },
            DecodeError::Json(source) => BusError::Decode { what: what(), source },
        })?;
        summary.jobs += 1;
        summary.done += usize::from(matches!(record.state, JobState::Done { .. }));
    }
    Ok(bus.write(key, value).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a manifest with these bytes is refused with.
    fn refusal(manifest: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        let sums = [(MANIFEST.to_owned(), hex::encode(Sha256::digest(manifest)))].into();
        let error = read_manifest(dir.path(), &sums).unwrap_err();
        error.to_string().replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn a_backup_of_another_version_is_told_from_a_damaged_one() {
        let refusals = [r#"{"v":9,"state":"new"}"#, r#"{"v":0}"#, r#"{"v":"one"}"#, r#"{"v":1}"#, "{}"];
        insta::assert_snapshot!(refusals.map(refusal).join("\n"), @r#"
        the backup DIR has version 9, but this program reads versions up to 1 only: update Ferry
        the backup DIR has version 0, but this program reads version 1 and later only: use the version of Ferry that wrote it
        the backup DIR gives `"one"` as its version, which is not a whole number: it is damaged, or not Ferry's
        DIR/manifest.json is damaged: missing field `program` at line 1 column 7; nothing was restored
        DIR/manifest.json is damaged: missing field `v` at line 1 column 2; nothing was restored
        "#);
    }
}

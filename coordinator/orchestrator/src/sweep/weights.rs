//! Weights files that a sweep names: paths become digests, so that a job is identified by the content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::blob::digest;
use shared::seal;
use shared::trainer::TrainerKind;
use shared::weights::{self, Provenance, ProvenanceError, Slot};

use super::mtl::{MtlJob, is_mtl};
use super::plan::WeightsFile;
use super::problem::{Problem, Span};
use super::spec::{Located, SweepFile};

/// Largest weights file in bytes: ten times the largest network of the paper.
const LARGEST: u64 = 2 << 30;

/// The files that a sweep names, each read once.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The files by their paths in the sweep file, or the reason why a file cannot be used.
    read: BTreeMap<String, Result<File, String>>,
    /// Where the sweep file first names each digest.
    places: BTreeMap<(Slot, String), Span>,
}

#[derive(Debug, Clone)]
struct File {
    path: PathBuf,
    size: u64,
    digest: String,
    provenance: Provenance,
}

/// Replaces every path of weights in `file` by `sha256:` and the digest of the content. Paths are relative to `folder`.
/// Only the paper's trainer reads weights.
pub(super) fn resolve(
    file: &mut SweepFile,
    kind: &dyn TrainerKind,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Files {
    let mut files = Files::default();
    if !is_mtl(kind) {
        return files;
    }
    let mut settings = |settings: &mut Vec<(Located<String>, Located<Value>)>| {
        for (name, value) in settings {
            files.setting(&name.value, value, folder, problems);
        }
    };
    settings(&mut file.defaults);
    for (_, group) in &mut file.groups {
        settings(&mut group.settings);
        group.exclude.iter_mut().chain(&mut group.include).for_each(|entry| settings(&mut entry.value));
    }
    for table in &mut file.tables {
        table.paper.iter_mut().for_each(|row| settings(&mut row.value.row));
    }
    let axes = file.groups.iter_mut().flat_map(|(_, group)| &mut group.matrix);
    let members = file.ensembles.iter_mut().flat_map(|(_, ensemble)| &mut ensemble.members);
    let filters = members.flat_map(|member| &mut member.value.filter);
    let rows = file.tables.iter_mut().flat_map(|table| &mut table.filter);
    for (name, values) in axes.chain(filters).chain(rows) {
        for value in values {
            files.setting(&name.value, value, folder, problems);
        }
    }
    files
}

impl Files {
    fn setting(
        &mut self,
        name: &str,
        value: &mut Located<Value>,
        folder: &Path,
        problems: &mut Vec<Problem>,
    ) {
        let Some(slot) = Slot::ALL.into_iter().find(|slot| slot.setting() == name) else { return };
        let Value::String(text) = &value.value else { return };
        if !text.starts_with("sha256:") {
            let read = self.read.entry(text.clone()).or_insert_with(|| read(&folder.join(text)));
            match read {
                Ok(file) => value.value = format!("sha256:{}", file.digest).into(),
                Err(reason) => {
                    let problem = Problem::new(value.span, format!("`{name}`: {reason}"));
                    problems.push(problem);
                    // Other problems with this value would only repeat this one.
                    value.value = Value::Null;
                    return;
                }
            }
        }
        if let Some(digest) = value.value.as_str().and_then(digest) {
            self.places.entry((slot, digest.to_owned())).or_insert(value.span);
        }
    }

    /// The files that `jobs` use, in the order of their names. A file that cannot fill a job's network is a problem.
    pub(super) fn used_by(&self, jobs: &[MtlJob<'_>], problems: &mut Vec<Problem>) -> Vec<WeightsFile> {
        let mut used: BTreeMap<&str, WeightsFile> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for MtlJob { spec, .. } in jobs {
            for (slot, digest) in spec.transfer.digests() {
                let Some(file) = self.read.values().flatten().find(|file| file.digest == digest) else {
                    continue;
                };
                let name = file.name();
                if let Err(reason) = file.provenance.serves(slot, &spec.network)
                    && told.insert((slot, digest, reason.clone()))
                {
                    let span = self.places.get(&(slot, digest.to_owned())).copied().unwrap_or_default();
                    problems.push(Problem::new(span, format!("`{}`: {name}: {reason}", slot.setting())));
                }
                let entry = used.entry(digest).or_insert_with(|| file.planned());
                let remark = file.provenance.remark(spec.augment.normalization);
                entry.remarks.extend(remark.filter(|remark| !entry.remarks.contains(remark)));
            }
        }
        let mut used: Vec<_> = used.into_values().collect();
        used.sort_by(|a, b| a.name.cmp(&b.name));
        used
    }
}

impl File {
    fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn planned(&self) -> WeightsFile {
        WeightsFile {
            digest: self.digest.clone(),
            name: self.name(),
            size: self.size,
            holds: self.provenance.holds.to_string(),
            remarks: Vec::new(),
            path: self.path.clone(),
        }
    }
}

/// Reads the file at `path`; the error says why a sweep cannot use it.
fn read(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if metadata.len() > LARGEST {
        return Err(format!("{shown} has {} bytes, more than any network needs", metadata.len()));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let advice = format!("convert it first: ferry-worker weights convert {shown} -o FILE.safetensors");
    let provenance = match Provenance::of_safetensors(&bytes) {
        Ok(Some(provenance)) => provenance,
        Ok(None) => return Err(format!("{shown} does not say what it holds; {advice}")),
        Err(ProvenanceError::Format(_)) => {
            return Err(format!("{shown} is not a Ferry file; {advice}"));
        }
        Err(ProvenanceError::Mistaken(mistaken)) => return Err(format!("{shown} is {mistaken}")),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    let (tensors, _) =
        seal::open(&bytes).map_err(|error| format!("{shown}: {error}; download or convert it again"))?;
    if let [first, rest @ ..] = weights::not_finite(&tensors).as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more tensors", rest.len()) };
        return Err(format!("{shown} has NaN or infinite values in `{first}`{more}: use other weights"));
    }
    let digest = hex::encode(Sha256::digest(&bytes));
    Ok(File { path: path.to_owned(), size: metadata.len(), digest, provenance })
}

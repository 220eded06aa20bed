//! Which of a machine's GPUs a run uses: by number, by UUID, or all.

use std::fmt;
use std::str::FromStr;

use shared::cuda_visible::{BadEntry, Visible};

use super::inventory::{Gpu, Mig};

/// What `--gpus` says: devices in the order of their workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuChoice(Vec<Wanted>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// A GPU by its number in `nvidia-smi`: with MIG, all its instances.
    Number(u32),
    /// One instance of a GPU in MIG mode.
    Instance(u32, u32),
    /// A GPU or an instance by the start of its UUID.
    Uuid(String),
}

/// A device that gets a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenGpu {
    /// `gpu` and its number, with MIG also the instance's: the worker's name.
    pub name: String,
    /// What CUDA opens it by.
    pub uuid: String,
}

/// Why a choice cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error(transparent)]
    BadEntry(#[from] BadEntry),
    #[error("no GPU is visible on this machine (`nvidia-smi -L` lists them; FERRY_CUDA=0 hides them)")]
    NoGpus,
    #[error("there is no GPU {wanted}, only {known}")]
    NoSuchGpu { wanted: String, known: String },
    #[error("more than one UUID starts with {wanted}: {known}")]
    Ambiguous { wanted: String, known: String },
    #[error("{name} is named twice")]
    Twice { name: String },
    #[error(
        "GPU {index} is in MIG mode and has no instances: create some (`nvidia-smi mig -cgi`) or leave it out"
    )]
    NoInstances { index: u32 },
}

impl GpuChoice {
    /// The GPUs that a value of CUDA_VISIBLE_DEVICES names.
    pub(super) fn of_cuda(value: &str) -> Result<Self, ChoiceError> {
        let named = match Visible::read(Some(value))? {
            Visible::All | Visible::None => Vec::new(),
            Visible::Named(entries) => entries,
        };
        let wanted = |entry: String| entry.parse().map_err(|_| BadEntry(entry));
        Ok(Self(named.into_iter().map(wanted).collect::<Result<_, _>>()?))
    }
}

impl FromStr for GpuChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(|entry| entry.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for GpuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&entries.join(","))
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(entry: &str) -> Result<Self, Self::Err> {
        let upper = entry.to_ascii_uppercase();
        if (upper.starts_with("GPU-") || upper.starts_with("MIG-")) && upper.len() > 4 {
            return Ok(Self::Uuid(entry.to_owned()));
        }
        let number = |text: &str| text.parse::<u32>().ok();
        let read = match entry.split_once(':') {
            None => number(entry).map(Self::Number),
            Some((gpu, instance)) => number(gpu).zip(number(instance)).map(|(g, i)| Self::Instance(g, i)),
        };
        read.ok_or_else(|| {
            format!("`{entry}` is not a GPU: use its number (0), the start of its UUID (GPU-8f3a), or 0:1 for a MIG instance")
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(index) => write!(f, "{index}"),
            Self::Instance(gpu, instance) => write!(f, "{gpu}:{instance}"),
            Self::Uuid(begin) => f.write_str(begin),
        }
    }
}

/// Every device that CUDA can open.
pub(super) fn all(gpus: &[Gpu]) -> Vec<ChosenGpu> {
    gpus.iter().flat_map(devices).collect()
}

/// The devices of `choice`, or what is wrong with it.
pub fn choose(gpus: &[Gpu], choice: &GpuChoice) -> Result<Vec<ChosenGpu>, ChoiceError> {
    if gpus.is_empty() && !choice.0.is_empty() {
        return Err(ChoiceError::NoGpus);
    }
    let mut chosen: Vec<ChosenGpu> = Vec::new();
    for wanted in &choice.0 {
        for device in meant(gpus, wanted)? {
            if chosen.contains(&device) {
                return Err(ChoiceError::Twice { name: device.name });
            }
            chosen.push(device);
        }
    }
    Ok(chosen)
}

/// The devices of one entry; at least one.
fn meant(gpus: &[Gpu], wanted: &Wanted) -> Result<Vec<ChosenGpu>, ChoiceError> {
    let unknown = || ChoiceError::NoSuchGpu { wanted: wanted.to_string(), known: known(&all(gpus)) };
    let by_number = |index: u32| gpus.iter().find(|gpu| gpu.index == index).ok_or_else(unknown);
    match wanted {
        Wanted::Number(index) => {
            let gpu = by_number(*index)?;
            let devices = devices(gpu);
            if devices.is_empty() { Err(ChoiceError::NoInstances { index: gpu.index }) } else { Ok(devices) }
        }
        Wanted::Instance(gpu, instance) => {
            let name = instance_name(by_number(*gpu)?.index, *instance);
            let found = all(gpus).into_iter().find(|device| device.name == name);
            found.map(|device| vec![device]).ok_or_else(unknown)
        }
        Wanted::Uuid(begin) => {
            let begins =
                |uuid: &str| uuid.get(..begin.len()).is_some_and(|same| same.eq_ignore_ascii_case(begin));
            let devices: Vec<_> = all(gpus).into_iter().filter(|device| begins(&device.uuid)).collect();
            match devices.len() {
                1 => Ok(devices),
                // The GPU whose instances are the devices.
                0 => match gpus.iter().find(|gpu| begins(&gpu.uuid)) {
                    Some(gpu) => meant(gpus, &Wanted::Number(gpu.index)),
                    None => Err(unknown()),
                },
                _ => Err(ChoiceError::Ambiguous { wanted: begin.clone(), known: known(&devices) }),
            }
        }
    }
}

fn devices(gpu: &Gpu) -> Vec<ChosenGpu> {
    match &gpu.mig {
        Mig::Off => vec![ChosenGpu { name: format!("gpu{}", gpu.index), uuid: gpu.uuid.clone() }],
        Mig::On(instances) => instances
            .iter()
            .map(|instance| ChosenGpu {
                name: instance_name(gpu.index, instance.index),
                uuid: instance.uuid.clone(),
            })
            .collect(),
    }
}

fn instance_name(gpu: u32, instance: u32) -> String {
    format!("gpu{gpu}-{instance}")
}

fn known(devices: &[ChosenGpu]) -> String {
    let names: Vec<_> = devices.iter().map(|device| format!("{} ({})", device.name, device.uuid)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::inventory::Instance;
    use super::*;

    /// GPU 0, 1, 2 and 5, of which 2 is cut in two and 5 in none.
    fn machine() -> Vec<Gpu> {
        let gpu = |index, uuid: &str, mig| Gpu {
            index,
            uuid: uuid.to_owned(),
            name: "A100".to_owned(),
            memory: 40 << 30,
            mig,
        };
        let instance = |index, uuid: &str| Instance { index, uuid: uuid.to_owned() };
        vec![
            gpu(0, "GPU-8f3a11", Mig::Off),
            gpu(1, "GPU-8f3b22", Mig::Off),
            gpu(2, "GPU-91cc33", Mig::On(vec![instance(0, "MIG-aa01"), instance(3, "MIG-bb02")])),
            gpu(5, "GPU-d00d44", Mig::On(vec![])),
        ]
    }

    fn chosen(text: &str) -> Result<Vec<String>, ChoiceError> {
        let gpus = choose(&machine(), &text.parse().unwrap())?;
        Ok(gpus.into_iter().map(|gpu| format!("{} {}", gpu.name, gpu.uuid)).collect())
    }

    #[test]
    fn numbers_and_uuid_prefixes_choose() {
        assert_eq!(chosen("1,0").unwrap(), ["gpu1 GPU-8f3b22", "gpu0 GPU-8f3a11"]);
        assert_eq!(chosen("GPU-8f3a, gpu-8F3B").unwrap(), ["gpu0 GPU-8f3a11", "gpu1 GPU-8f3b22"]);
    }

    #[test]
    fn a_gpu_in_mig_mode_is_its_instances() {
        let both = ["gpu2-0 MIG-aa01", "gpu2-3 MIG-bb02"];
        assert_eq!(chosen("2").unwrap(), both);
        assert_eq!(chosen("GPU-91").unwrap(), both);
        assert_eq!(chosen("2:3").unwrap(), both[1..]);
        assert_eq!(chosen("MIG-aa").unwrap(), both[..1]);
        let names: Vec<_> = all(&machine()).into_iter().map(|gpu| gpu.name).collect();
        assert_eq!(names, ["gpu0", "gpu1", "gpu2-0", "gpu2-3"]);
        assert_eq!(chosen("5"), Err(ChoiceError::NoInstances { index: 5 }));
    }

    #[test]
    fn what_is_not_there_or_not_one_or_there_twice_is_refused() {
        for wanted in ["3", "GPU-ff", "2:1", "7:0", "MIG-cc"] {
            let error = chosen(wanted).unwrap_err();
            assert!(matches!(error, ChoiceError::NoSuchGpu { .. }), "{wanted}");
            let said = error.to_string();
            assert!(said.contains(wanted) && said.contains("gpu2-3 (MIG-bb02)"), "{said}");
        }
        assert!(matches!(chosen("GPU-8f3"), Err(ChoiceError::Ambiguous { .. })));
        for twice in ["0,0", "0,GPU-8f3a", "2,MIG-aa", "2:0,2"] {
            assert!(matches!(chosen(twice), Err(ChoiceError::Twice { .. })), "{twice}");
        }
        assert_eq!(choose(&[], &"0".parse().unwrap()), Err(ChoiceError::NoGpus));
    }

    #[test]
    fn what_is_no_device_is_refused_where_it_is_read() {
        for wrong in ["", "a", "0;1", "-1", "GPU-", "1:", "0,"] {
            let error = wrong.parse::<GpuChoice>().unwrap_err();
            assert!(error.contains("is not a GPU: use its number"), "{error}");
        }
        assert_eq!("0,2:1,MIG-ab".parse::<GpuChoice>().unwrap().to_string(), "0,2:1,MIG-ab");
    }
}

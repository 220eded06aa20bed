//! The GPUs of this machine, and which of them a run uses.

mod choice;
mod inventory;
mod nvml;

pub use choice::{ChoiceError, ChosenGpu, GpuChoice, choose};
pub use inventory::{Gpu, Instance, Inventory, InventoryError, Mig};
pub use nvml::Nvml;

/// Why the GPUs of a run cannot be determined.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error("--gpus {asked}: {error}")]
    Flag { asked: String, error: ChoiceError },
    #[error(
        "CUDA_VISIBLE_DEVICES={asked}: {error}; unset it, choose with --gpus, or train on the CPU with FERRY_CUDA=0"
    )]
    Environment { asked: String, error: ChoiceError },
}

/// What the environment says about GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// `FERRY_CUDA=0`: as if there were none.
    pub hidden: bool,
    /// `CUDA_VISIBLE_DEVICES`, which schedulers set.
    pub visible: Option<String>,
}

impl Environment {
    /// That of this process.
    pub fn read() -> Self {
        Self {
            hidden: std::env::var_os("FERRY_CUDA").is_some_and(|value| value == "0"),
            visible: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
        }
    }
}

/// The GPUs that get a worker each: those of `--gpus`, else those of CUDA_VISIBLE_DEVICES, else all.
pub fn settle(
    inventory: &dyn Inventory,
    asked: Option<&GpuChoice>,
    environment: &Environment,
) -> Result<Vec<ChosenGpu>, DevicesError> {
    let gpus = if environment.hidden { Vec::new() } else { inventory.gpus()? };
    if let Some(asked) = asked {
        return choose(&gpus, asked).map_err(|error| DevicesError::Flag { asked: asked.to_string(), error });
    }
    match &environment.visible {
        // Whoever names GPUs and gets none must not find out by how long the CPU takes.
        Some(visible) if !environment.hidden => GpuChoice::of_cuda(visible)
            .and_then(|choice| choose(&gpus, &choice))
            .map_err(|error| DevicesError::Environment { asked: visible.clone(), error }),
        Some(_) | None => Ok(choice::all(&gpus)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Vec<Gpu>);

    impl Inventory for Fake {
        fn gpus(&self) -> Result<Vec<Gpu>, InventoryError> {
            Ok(self.0.clone())
        }
    }

    struct Broken;

    impl Inventory for Broken {
        fn gpus(&self) -> Result<Vec<Gpu>, InventoryError> {
            Err(InventoryError { reason: "driver and library differ".to_owned() })
        }
    }

    fn machine() -> Fake {
        let gpu = |index| Gpu {
            index,
            uuid: format!("GPU-{index}aaa"),
            name: "H100".to_owned(),
            memory: 80 << 30,
            mig: Mig::Off,
        };
        Fake((0..3).map(gpu).collect())
    }

    fn names(settled: Result<Vec<ChosenGpu>, DevicesError>) -> Result<Vec<String>, String> {
        settled.map(|gpus| gpus.into_iter().map(|gpu| gpu.name).collect()).map_err(|error| error.to_string())
    }

    fn visible(text: &str) -> Environment {
        Environment { hidden: false, visible: Some(text.to_owned()) }
    }

    #[test]
    fn the_flag_counts_before_the_environment_and_both_before_all() {
        let asked: GpuChoice = "2".parse().unwrap();
        let settle = |asked: Option<&GpuChoice>, environment: &Environment| {
            names(super::settle(&machine(), asked, environment)).unwrap()
        };
        assert_eq!(settle(Some(&asked), &visible("0")), ["gpu2"]);
        assert_eq!(settle(None, &visible("1,0")), ["gpu1", "gpu0"]);
        assert_eq!(settle(None, &visible("GPU-2")), ["gpu2"]);
        assert_eq!(settle(None, &Environment::default()), ["gpu0", "gpu1", "gpu2"]);
        // CUDA's own ways to say "none".
        assert!(settle(None, &visible("")).is_empty() && settle(None, &visible("-1")).is_empty());
        assert_eq!(settle(None, &visible("0,-1,2")), ["gpu0"]);
    }

    #[test]
    fn a_machine_without_gpus_trains_on_the_cpu_unless_it_was_asked_for_one() {
        let none = Fake(Vec::new());
        for nothing in ["", "-1", "NoDevFiles"] {
            assert_eq!(names(settle(&none, None, &visible(nothing))), Ok(vec![]));
        }
        let hidden = Environment { hidden: true, visible: None };
        assert_eq!(names(settle(&Broken, None, &hidden)), Ok(vec![]));
        let both = Environment { hidden: true, ..visible("0,1") };
        assert_eq!(names(settle(&none, None, &both)), Ok(vec![]), "FERRY_CUDA=0 settles it");
        let asked: GpuChoice = "0".parse().unwrap();
        for (inventory, environment) in [(&none, Environment::default()), (&machine(), hidden)] {
            let error = names(settle(inventory, Some(&asked), &environment)).unwrap_err();
            assert!(error.starts_with("--gpus 0: no GPU is visible"), "{error}");
        }
    }

    /// Case 18: GPUs that are named and not there are an error, never a silent CPU.
    #[test]
    fn gpus_named_in_the_environment_must_be_there() {
        let error = names(settle(&Fake(Vec::new()), None, &visible("0,1"))).unwrap_err();
        insta::assert_snapshot!(error, @"CUDA_VISIBLE_DEVICES=0,1: no GPU is visible on this machine (`nvidia-smi -L` lists them; FERRY_CUDA=0 hides them); unset it, choose with --gpus, or train on the CPU with FERRY_CUDA=0");
        let error = names(settle(&machine(), None, &visible("all"))).unwrap_err();
        insta::assert_snapshot!(error, @"CUDA_VISIBLE_DEVICES=all: `all` is not a GPU: use numbers (0,1) or UUIDs (GPU-8f3a…); unset it, choose with --gpus, or train on the CPU with FERRY_CUDA=0");
    }

    #[test]
    fn errors_name_who_asked() {
        let error = names(settle(&machine(), None, &visible("7"))).unwrap_err();
        assert!(error.starts_with("CUDA_VISIBLE_DEVICES=7: there is no GPU 7"), "{error}");
        let error = names(settle(&Broken, None, &Environment::default())).unwrap_err();
        assert!(error.contains("FERRY_CUDA=0"), "{error}");
    }
}

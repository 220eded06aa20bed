//! Weights of another program are converted and named in a sweep, and reach a worker only over the bus.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::programs::{Workdir, expect};
use tests::run::Run;

const LIMIT: Duration = Duration::from_mins(4);

/// A ResNet18 of width 4 with one block per stage, as PyTorch users store it: safetensors with torchvision's names.
fn resnet18() -> Vec<u8> {
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut layer = |conv: String, norm: String, shape: [usize; 4]| {
        shapes.insert(format!("{conv}.weight"), shape.to_vec());
        for field in ["weight", "bias", "running_mean", "running_var"] {
            shapes.insert(format!("{norm}.{field}"), vec![shape[0]]);
        }
    };
    layer("conv1".to_owned(), "bn1".to_owned(), [4, 3, 7, 7]);
    for stage in 0..4 {
        let (inputs, outputs) = (4 << stage >> usize::from(stage > 0), 4 << stage);
        let at = |part: &str| format!("layer{}.0.{part}", stage + 1);
        layer(at("conv1"), at("bn1"), [outputs, inputs, 3, 3]);
        layer(at("conv2"), at("bn2"), [outputs, outputs, 3, 3]);
        if stage > 0 {
            layer(at("downsample.0"), at("downsample.1"), [outputs, inputs, 1, 1]);
        }
    }
    shapes.insert("fc.bias".to_owned(), vec![10]);
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes {
        let start = data.len();
        let count = shape.iter().product::<usize>();
        data.extend((0..count).flat_map(|index| (0.5 + (index % 7) as f32 / 10.0).to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name, entry);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn sweep(weights: &str) -> String {
    format!(
        "name: moved\n\
         dataset: {{synthetic: {{train: 24, validation: 12, test: 12, image_size: 16}}}}\n\
         defaults: {{backbone: resnet18, emotion_backbone: resnet18, width: 4, blocks: [1, 1, 1, 1], heads: 1, \
         image_size: 16, epochs: 1, batch_size: 8}}\n\
         groups: {{g: {{matrix: {{emotion_weights: [null, '{weights}']}}}}}}\n"
    )
}

#[test]
fn converted_weights_reach_the_worker_and_moving_the_file_changes_nothing() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    std::fs::write(workdir.path().join("raw.safetensors"), resnet18())?;
    let convert = ["weights", "convert", "raw.safetensors", "-o", "w.safetensors", "--json"];
    let report = expect(&mut workdir.worker(&convert), 0)?;
    let report: Value = serde_json::from_slice(&report.stdout)?;
    assert_eq!(
        (&report["layout"], &report["holds"]["backbone"]),
        (&"torchvision".into(), &"resnet18".into())
    );

    std::fs::write(workdir.path().join("s.yaml"), sweep("w.safetensors"))?;
    let mut command = workdir.ferry(&["run", "s.yaml", "--json", "--workers", "1"]);
    let mut run = Run::start({
        command.env("FERRY_CACHE", workdir.path().join("cache"));
        command
    })?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&2.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());

    let plan = expect(&mut workdir.ferry(&["plan", "s.yaml", "--json"]), 0)?;
    let plan: Value = serde_json::from_slice(&plan.stdout)?;
    let digest = plan["weights"][0]["digest"].as_str().unwrap_or_default().to_owned();
    let fetched = std::fs::read(workdir.path().join(format!("cache/weights/{digest}.safetensors")))?;
    assert_eq!(fetched, std::fs::read(workdir.path().join("w.safetensors"))?);

    // The file is gone, and the sweep names its digest. The jobs are the same, and both are already done.
    std::fs::remove_file(workdir.path().join("w.safetensors"))?;
    std::fs::write(workdir.path().join("s.yaml"), sweep(&format!("sha256:{digest}")))?;
    let again = expect(&mut workdir.ferry(&["plan", "s.yaml", "--json"]), 0)?;
    let again: Value = serde_json::from_slice(&again.stdout)?;
    assert_eq!(again["jobs"], plan["jobs"]);
    expect(&mut workdir.ferry(&["run", "s.yaml", "--json", "--workers", "1"]), 0)?;
    Ok(())
}

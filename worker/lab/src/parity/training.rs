//! A whole training on a given dataset, as a worker runs it.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use shared::expression::{CLASSES, LANDMARKS};
use shared::pack::{Landmarks, Pack, PackWriter, Sample, Split};
use tch::{Device, Tensor};

use super::{Chosen, input};
use worker::archive::Tensors;
use worker::train::{Control, TaskOutcome, TrainTask, train};

/// Inputs: `pixels` [N, P, P, 3] in bytes, `labels` [N], `landmarks` [N, 68, 2], for training, validation and test
/// samples in this order.
#[derive(Debug, Deserialize)]
pub(super) struct Training {
    #[serde(flatten)]
    chosen: Chosen,
    /// Number of samples in each split.
    splits: [usize; 3],
    /// Where to write the pack.
    pack: PathBuf,
    /// Where to write the weights of the best epoch.
    model: PathBuf,
}

/// Outputs: `validation` and `test` [N, 6], the probabilities that the trainer stores.
pub(super) fn run(request: &Training, inputs: &Tensors) -> anyhow::Result<Tensors> {
    let spec = request.chosen.spec()?;
    write_pack(request, inputs)?;
    let pack = Pack::open(&request.pack)?;
    let task = TrainTask { spec: &spec, pack: &pack, device: Device::Cpu, resume: None };
    let TaskOutcome::Finished(finished) = train(&task, &mut |_| Control::Continue)? else {
        bail!("the training stopped, although nothing asked it to");
    };
    let model = &request.model;
    std::fs::write(model, &finished.model).with_context(|| format!("cannot write {}", model.display()))?;
    let rows = |rows: &[[f32; CLASSES]]| -> anyhow::Result<Tensor> {
        Ok(Tensor::f_from_slice(rows.as_flattened())?.f_reshape([-1, CLASSES as i64])?)
    };
    let mut outputs = Tensors::from([("validation".to_owned(), rows(&finished.validation)?)]);
    if let Some(test) = &finished.test {
        outputs.insert("test".to_owned(), rows(test)?);
    }
    Ok(outputs)
}

fn write_pack(request: &Training, inputs: &Tensors) -> anyhow::Result<()> {
    let pixels = input(inputs, "pixels")?;
    let &[count, size, _, 3] = pixels.size().as_slice() else { bail!("`pixels` is not [N, P, P, 3]") };
    let labels = Vec::<i64>::try_from(input(inputs, "labels")?)?;
    let landmarks = Vec::<f32>::try_from(input(inputs, "landmarks")?.f_reshape([-1])?)?;
    let landmarks: Vec<Landmarks> = landmarks
        .chunks_exact(2 * LANDMARKS)
        .map(|points| std::array::from_fn(|point| [points[2 * point], points[2 * point + 1]]))
        .collect();
    let splits = Split::ALL.into_iter().zip(request.splits);
    let splits: Vec<Split> = splits.flat_map(|(split, count)| std::iter::repeat_n(split, count)).collect();
    let same = [count as usize, labels.len(), landmarks.len()].iter().all(|&length| length == splits.len());
    ensure!(same, "`pixels`, `labels`, `landmarks` and the splits differ in length");
    let mut writer = PackWriter::create(&request.pack, size as u32, Value::Null)?;
    for (number, split) in splits.into_iter().enumerate() {
        writer.add(&Sample {
            split,
            id: &number.to_string(),
            label: Some(u8::try_from(labels[number])?),
            landmarks: Some(&landmarks[number]),
            pixels: &Vec::<u8>::try_from(pixels.f_select(0, number as i64)?.f_reshape([-1])?)?,
        })?;
    }
    writer.finish()?;
    Ok(())
}

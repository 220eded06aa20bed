//! The two views of given images, with given draws.

use anyhow::{bail, ensure};
use serde::Deserialize;
use tch::{Kind, Tensor};

use super::{Chosen, input};
use worker::archive::Tensors;
use worker::data::frames::resize;
use worker::data::{Draw, Views};

/// Input: `pixels` [N, P, P, 3], bytes.
#[derive(Debug, Deserialize)]
pub(super) struct GivenViews {
    #[serde(flatten)]
    chosen: Chosen,
    /// One for each image.
    draws: Vec<Draw>,
}

/// Outputs: `resized` [N, S, S, 3], bytes; `emotion`, `appearance`, `evaluation` [N, 3, S, S].
pub(super) fn run(request: &GivenViews, inputs: &Tensors) -> anyhow::Result<Tensors> {
    let spec = request.chosen.spec()?;
    let pixels = input(inputs, "pixels")?;
    let &[count, stored, same, 3] = pixels.size().as_slice() else { bail!("`pixels` is not [N, P, P, 3]") };
    ensure!(stored == same && pixels.kind() == Kind::Uint8, "`pixels` is not [N, P, P, 3] in bytes");
    ensure!(
        count as usize == request.draws.len(),
        "there are {count} images, but {} draws",
        request.draws.len()
    );
    let views = Views::new(&spec.augment, spec.training.seed);
    let mut resized = Vec::new();
    let mut made: [Vec<f32>; 3] = Default::default();
    for (number, draw) in request.draws.iter().enumerate() {
        let image = Vec::<u8>::try_from(pixels.f_select(0, number as i64)?.f_reshape([-1])?)?;
        let image = resize(&image, stored as u32, spec.augment.image_size).map_err(anyhow::Error::msg)?;
        let [mut emotion, mut appearance, mut evaluation] = [(); 3].map(|()| vec![0.0; views.len()]);
        views.drawn(&image, draw, &mut emotion, &mut appearance);
        views.evaluation(&image, &mut evaluation);
        for (all, one) in made.iter_mut().zip([emotion, appearance, evaluation]) {
            all.extend(one);
        }
        resized.extend(image);
    }
    let size = views.size() as i64;
    let mut outputs = Tensors::new();
    for (name, view) in ["emotion", "appearance", "evaluation"].into_iter().zip(made) {
        outputs.insert(name.to_owned(), Tensor::f_from_slice(&view)?.f_reshape([count, 3, size, size])?);
    }
    let resized = Tensor::f_from_slice(&resized)?.f_reshape([count, size, size, 3])?;
    outputs.insert("resized".to_owned(), resized);
    Ok(outputs)
}

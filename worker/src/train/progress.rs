//! The loss terms of an epoch. They stay on the device and are read back every few steps.

use shared::mtl::report::LossTerms;
use tch::{Device, Kind, TchError, Tensor};

use super::checkpoint::Partial;
use super::error::TrainError;
use super::terms::{TERMS, Term};

/// The terms of each step of one epoch.
#[derive(Debug)]
pub struct Progress {
    epoch: u32,
    /// Steps of this epoch that were done before the resume, and their samples.
    before: (u32, u64),
    /// `[steps, 4]` on the device.
    rows: Tensor,
    /// Samples of each step since then.
    sizes: Vec<usize>,
    /// Steps whose terms have been read.
    read: usize,
    /// Terms summed over the samples of the steps read and of the steps before the resume.
    sums: [f64; TERMS],
    latest: f64,
    interval: usize,
}

impl Progress {
    /// Steps between two reads from a GPU, because each read waits for all queued work.
    const GPU_INTERVAL: usize = 16;

    /// For `steps` more steps of an epoch, after those in `before`.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn new(epoch: u32, steps: usize, before: Option<&Partial>, device: Device) -> Result<Self, TchError> {
        let interval = if device == Device::Cpu { 1 } else { Self::GPU_INTERVAL };
        Ok(Self {
            epoch,
            before: before.map_or((0, 0), |partial| (partial.step, partial.samples)),
            rows: Tensor::f_zeros([steps as i64, TERMS as i64], (Kind::Float, device))?,
            sizes: Vec::with_capacity(steps),
            read: 0,
            sums: before.map_or([0.0; TERMS], |partial| partial.sums),
            latest: 0.0,
            interval,
        })
    }

    /// Adds the `terms [4]` of one step, which are means over `size` samples.
    ///
    /// # Errors
    ///
    /// A term that is read back now is not finite, or libtorch fails.
    pub fn record(&mut self, terms: &Tensor, size: usize) -> Result<(), TrainError> {
        self.rows.f_get(self.sizes.len() as i64)?.f_copy_(&terms.detach())?;
        self.sizes.push(size);
        // The first step too, so that there is a loss to show from the start.
        if self.sizes.len() == 1 || self.sizes.len() - self.read >= self.interval {
            self.catch_up()?;
        }
        Ok(())
    }

    /// The loss of the last step that was read back.
    pub fn latest(&self) -> f64 {
        self.latest
    }

    /// The mean of each term over the samples of the epoch.
    ///
    /// # Errors
    ///
    /// A term is not finite, or libtorch fails.
    pub fn finish(mut self) -> Result<LossTerms, TrainError> {
        self.catch_up()?;
        let samples = self.samples().max(1) as f64;
        let [cross_entropy, affinity, partition, landmark] = self.sums.map(|sum| sum / samples);
        Ok(LossTerms { cross_entropy, affinity, partition, landmark })
    }

    /// The progress so far. `seconds` is the time it took, `micro_batches` the most that a batch was split into.
    ///
    /// # Errors
    ///
    /// A term is not finite, or libtorch fails.
    pub fn partial(&mut self, seconds: f64, micro_batches: u32) -> Result<Partial, TrainError> {
        self.catch_up()?;
        let step = self.before.0 + self.sizes.len() as u32;
        Ok(Partial { step, samples: self.samples(), sums: self.sums, seconds, micro_batches })
    }

    fn samples(&self) -> u64 {
        self.before.1 + self.sizes.iter().sum::<usize>() as u64
    }

    fn catch_up(&mut self) -> Result<(), TrainError> {
        let new = self.sizes.len() - self.read;
        if new == 0 {
            return Ok(());
        }
        let rows = self.rows.f_narrow(0, self.read as i64, new as i64)?.f_to_device(Device::Cpu)?;
        let values = Vec::<f32>::try_from(rows.f_reshape([-1])?)?;
        for row in values.chunks_exact(TERMS) {
            let size = self.sizes[self.read] as f64;
            self.read += 1;
            for ((term, sum), value) in Term::ALL.into_iter().zip(&mut self.sums).zip(row) {
                let value = f64::from(*value);
                if !value.is_finite() {
                    let step = self.before.0 as usize + self.read;
                    return Err(TrainError::NotFinite { epoch: self.epoch, step, term, value });
                }
                *sum += value * size;
            }
            self.latest = row.iter().copied().map(f64::from).sum();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "small whole numbers are exact")]

    use super::*;

    #[test]
    fn means_weigh_each_step_by_its_samples() {
        let mut progress = Progress::new(1, 2, None, Device::Cpu).unwrap();
        progress.record(&Tensor::from_slice(&[1f32, 2., 0., 4.]), 3).unwrap();
        assert_eq!(progress.latest(), 7.0);
        progress.record(&Tensor::from_slice(&[5f32, 2., 0., 0.]), 1).unwrap();
        let terms = progress.finish().unwrap();
        let expected = LossTerms { cross_entropy: 2.0, affinity: 2.0, partition: 0.0, landmark: 3.0 };
        assert_eq!(terms, expected);
    }

    #[test]
    fn sums_continue_after_a_resume() {
        let step = |value: f32| Tensor::from_slice(&[value, 2., 0., 4.]);
        let mut whole = Progress::new(1, 2, None, Device::Cpu).unwrap();
        whole.record(&step(0.1), 3).unwrap();
        let partial = whole.partial(1.5, 2).unwrap();
        assert_eq!((partial.step, partial.samples, partial.seconds, partial.micro_batches), (1, 3, 1.5, 2));
        whole.record(&step(0.7), 2).unwrap();
        let mut resumed = Progress::new(1, 2, Some(&partial), Device::Cpu).unwrap();
        resumed.record(&step(0.7), 2).unwrap();
        assert_eq!(resumed.partial(0.0, 2).unwrap().step, 2);
        assert_eq!(resumed.finish().unwrap(), whole.finish().unwrap());
    }

    #[test]
    fn a_late_read_still_names_the_step() {
        let mut progress = Progress::new(3, 8, None, Device::Cpu).unwrap();
        progress.interval = 4;
        let good = Tensor::from_slice(&[1f32, 1., 1., 1.]);
        progress.record(&good, 2).unwrap();
        progress.record(&good, 2).unwrap();
        progress.record(&Tensor::from_slice(&[1f32, 1., f32::NAN, 1.]), 2).unwrap();
        let error = progress.finish().unwrap_err();
        assert!(
            matches!(error, TrainError::NotFinite { epoch: 3, step: 3, term: Term::Partition, .. }),
            "{error}"
        );
    }
}

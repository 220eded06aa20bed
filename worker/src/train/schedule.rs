//! Exponential decay of the learning rate, per epoch.

/// The learning rate of the next epoch.
///
/// Like `torch.optim.lr_scheduler.ExponentialLR`, it multiplies repeatedly. A power would differ in the last bit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialDecay {
    rate: f64,
    factor: f64,
}

impl ExponentialDecay {
    /// Starts, or continues after a resume, at `rate`.
    pub fn new(rate: f64, factor: f64) -> Self {
        Self { rate, factor }
    }

    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Call once at the end of each epoch.
    pub fn end_epoch(&mut self) {
        self.rate *= self.factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_twelve_epochs() {
        let mut schedule = ExponentialDecay::new(1e-4, 0.6);
        let rates: Vec<f64> = (0..12)
            .map(|_| {
                let rate = schedule.rate();
                schedule.end_epoch();
                rate
            })
            .collect();
        for (epoch, rate) in rates.iter().enumerate() {
            assert!((rate - 1e-4 * 0.6f64.powi(epoch as i32)).abs() < 1e-15);
        }
        assert!((rates[11] - 3.628e-7).abs() < 1e-10);
        assert_eq!(rates[2].to_bits(), (1e-4f64 * 0.6 * 0.6).to_bits());
    }
}

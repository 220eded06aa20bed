//! Adam (Kingma & Ba 2015, arXiv 1412.6980) with coupled L2. It performs the same operations in the same order as
//! `torch.optim.Adam`, and its state can be stored.
//!
//! All trainable variables become views of one flat tensor, so a step takes a dozen kernels, whatever the number of
//! layers. Every operation is elementwise, so the result equals that of one step per variable.

use shared::mtl::training::TrainingSpec;
use tch::{Kind, TchError, Tensor};

use crate::archive::Tensors;
use crate::variables::{Variables, detached_copy};

/// The optimiser of one network.
#[derive(Debug)]
pub struct Adam {
    slots: Vec<Slot>,
    /// The variables themselves, in slot order.
    variables: Vec<Tensor>,
    /// All parameters, and their first and second moments, `[total]`.
    parameters: Tensor,
    first: Tensor,
    second: Tensor,
    step: u64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
}

/// Where one variable lies in the flat tensors.
#[derive(Debug)]
struct Slot {
    name: String,
    shape: Vec<i64>,
    offset: i64,
    length: i64,
}

impl Slot {
    fn of(&self, flat: &Tensor) -> Result<Tensor, TchError> {
        flat.f_narrow(0, self.offset, self.length)?.f_view(self.shape.as_slice())
    }
}

/// Trainable variables whose memory is one tensor.
///
/// Kernels choose their code path, and with it the last bits of their sums, by the alignment of their operands. A
/// network gives the same numbers as in its training only if its variables have the same layout in memory.
#[derive(Debug)]
pub struct Flat {
    slots: Vec<Slot>,
    variables: Vec<Tensor>,
    parameters: Tensor,
}

impl Flat {
    /// Moves the trainable `variables` into one tensor; their values stay.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn of(variables: &Variables) -> Result<Self, TchError> {
        let mut offset = 0;
        let mut slots = Vec::new();
        for (name, variable) in variables.trainable() {
            let length = variable.numel() as i64;
            slots.push(Slot { name: name.clone(), shape: variable.size(), offset, length });
            offset += length;
        }
        let variables: Vec<Tensor> =
            variables.trainable().map(|(_, tensor)| tensor.shallow_clone()).collect();
        let parameters = flat(&variables.iter().map(Tensor::detach).collect::<Vec<_>>())?;
        for (slot, variable) in slots.iter().zip(&variables) {
            variable.shallow_clone().f_set_data(&slot.of(&parameters)?)?;
        }
        Ok(Self { slots, variables, parameters })
    }
}

impl Adam {
    /// Takes over the trainable `variables`: their memory moves into one tensor, their values stay.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn new(variables: &Variables, spec: &TrainingSpec) -> Result<Self, TchError> {
        let Flat { slots, variables, parameters } = Flat::of(variables)?;
        Ok(Self {
            first: parameters.f_zeros_like()?,
            second: parameters.f_zeros_like()?,
            slots,
            variables,
            parameters,
            step: 0,
            beta1: spec.adam_beta1,
            beta2: spec.adam_beta2,
            epsilon: spec.adam_epsilon,
            weight_decay: spec.weight_decay,
        })
    }

    /// One step down the gradient of the scalar `loss`. Consumes the loss's graph. A variable on which the loss does
    /// not depend has gradient 0.
    ///
    /// # Errors
    ///
    /// `loss` is not a scalar with a graph, or there is not enough memory.
    pub fn step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        let gradients = self.gradients(loss)?;
        self.apply(&gradients, learning_rate)
    }

    /// The gradients of the scalar `loss`, one for each variable in the order of [`Self::names`]. Consumes its graph.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>, TchError> {
        Ok(self.gradients_and(&[], loss)?.1)
    }

    /// The gradients of `loss` with respect to `others`, and [`Self::gradients`]. The gradient is an undefined tensor
    /// for any of `others` on which the loss does not depend.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn gradients_and(
        &self,
        others: &[&Tensor],
        loss: &Tensor,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), TchError> {
        let inputs: Vec<&Tensor> = others.iter().copied().chain(&self.variables).collect();
        let mut of_others = Tensor::f_run_backward(&[loss], &inputs, false, false)?;
        let own = of_others.split_off(others.len());
        let or_zero = |(gradient, variable): (Tensor, &Tensor)| {
            if gradient.defined() { gradient } else { variable.zeros_like() }
        };
        Ok((of_others, own.into_iter().zip(&self.variables).map(or_zero).collect()))
    }

    /// One step down `gradients`, one for each variable.
    ///
    /// # Errors
    ///
    /// The gradients do not have the shapes of the variables, or there is not enough memory.
    pub fn apply(&mut self, gradients: &[Tensor], learning_rate: f64) -> Result<(), TchError> {
        tch::no_grad(|| self.update(&flat(gradients)?, learning_rate))
    }

    /// The names of the variables that a step changes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    fn update(&mut self, gradient: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        self.step += 1;
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        let gradient = if self.weight_decay == 0.0 {
            gradient.shallow_clone()
        } else {
            // A fused multiply-add, because torch uses one to add a scaled tensor.
            let decay = Tensor::f_from_slice(&[self.weight_decay])?.f_to_kind(gradient.kind())?;
            gradient.f_addcmul(&self.parameters, &decay.f_to_device(gradient.device())?)?
        };
        let _ = self.first.f_lerp_(&gradient, 1.0 - self.beta1)?;
        let _ = self.second.f_mul_scalar_(self.beta2)?;
        let _ = self.second.f_addcmul_(&gradient.f_mul_scalar(1.0 - self.beta2)?, &gradient)?;
        let mut scale = self.second.f_sqrt()?;
        let _ = scale.f_div_scalar_(correction(self.beta2).sqrt())?.f_add_scalar_(self.epsilon)?;
        let step = self.first.f_mul_scalar(-(learning_rate / correction(self.beta1)))?;
        let _ = self.parameters.f_addcdiv_(&step, &scale)?;
        Ok(())
    }

    /// The number of steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Names and shapes of the tensors that [`Self::moments`] returns.
    pub fn moment_shapes(&self) -> impl Iterator<Item = (String, Vec<i64>)> {
        self.slots.iter().flat_map(|slot| {
            [FIRST, SECOND].map(|moment| (format!("{moment}.{}", slot.name), slot.shape.clone()))
        })
    }

    /// Copies of both moments on the CPU, named `exp_avg.…` and `exp_avg_sq.…` as in torch.
    ///
    /// # Errors
    ///
    /// There is not enough memory, or the device fails.
    pub fn moments(&self) -> Result<Tensors, TchError> {
        let mut moments = Tensors::new();
        for slot in &self.slots {
            for (moment, flat) in [(FIRST, &self.first), (SECOND, &self.second)] {
                moments.insert(format!("{moment}.{}", slot.name), detached_copy(&slot.of(flat)?)?);
            }
        }
        Ok(moments)
    }

    /// Continues after `steps` steps with the `moments` that [`Self::moments`] returned then.
    ///
    /// # Errors
    ///
    /// A moment is missing or has another shape. Those before it are already set.
    pub fn resume(&mut self, steps: u64, moments: &Tensors) -> Result<(), TchError> {
        for slot in &self.slots {
            for (moment, flat) in [(FIRST, &self.first), (SECOND, &self.second)] {
                let name = format!("{moment}.{}", slot.name);
                let stored = moments.get(&name).filter(|stored| stored.size() == slot.shape);
                let stored = stored.ok_or_else(|| TchError::TensorNameNotFound(name, "moments".into()))?;
                slot.of(flat)?.f_copy_(stored)?;
            }
        }
        self.step = steps;
        Ok(())
    }
}

const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

fn flat(tensors: &[Tensor]) -> Result<Tensor, TchError> {
    if tensors.is_empty() {
        return Tensor::f_zeros([0i64], (Kind::Float, tch::Device::Cpu));
    }
    let rows = tensors.iter().map(|tensor| tensor.f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
    Tensor::f_cat(&rows, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;
    use tch::nn::VarStore;

    const RATE: f64 = 1e-3;
    const STEPS: usize = 30;

    /// Lengths on both sides of every vector width, so that the flat tensor's vectors cross variables.
    const LENGTHS: [i64; 6] = [1, 7, 64, 33, 130, 3];

    fn pseudo_random(key: i64, length: i64) -> Tensor {
        let index = Tensor::arange(length, (Kind::Double, Device::Cpu)) + (key * 1000 + 1) as f64;
        ((index * 12.9898).sin() * 43_758.545_3).frac().to_kind(Kind::Float)
    }

    fn variables() -> Variables {
        let store = VarStore::new(Device::Cpu);
        for (key, &length) in LENGTHS.iter().enumerate() {
            let _ = store.root().add(&format!("v{key}"), pseudo_random(key as i64, length), true);
        }
        let _ = store.root().add("running", pseudo_random(9, 4), false);
        Variables::of(&store)
    }

    /// A loss whose gradient is `pull` + variable and changes in size from step to step.
    fn loss(variables: &Variables, step: usize) -> Tensor {
        let terms: Vec<Tensor> = variables
            .trainable()
            .enumerate()
            .map(|(key, (_, variable))| {
                let pull = pseudo_random((step * 10 + key) as i64, variable.numel() as i64) * (step as f64);
                (variable * pull + variable.square() * 0.5).sum(Kind::Float)
            })
            .collect();
        Tensor::stack(&terms, 0).sum(Kind::Float)
    }

    fn spec(weight_decay: f64) -> TrainingSpec {
        TrainingSpec { weight_decay, ..TrainingSpec::default() }
    }

    /// Variables after all steps, and their gradients at each step.
    fn trained(weight_decay: f64) -> (Tensors, Vec<Vec<Tensor>>) {
        let variables = variables();
        let mut adam = Adam::new(&variables, &spec(weight_decay)).unwrap();
        let mut gradients = Vec::new();
        for step in 1..=STEPS {
            let loss = loss(&variables, step);
            gradients.push(Tensor::run_backward(&[&loss], &adam.variables, true, false));
            adam.step(&loss, RATE).unwrap();
        }
        (variables.copies().unwrap(), gradients)
    }

    #[test]
    fn a_flat_step_equals_one_step_per_variable_bit_for_bit() {
        for decay in [0.0, 1e-4] {
            let (flat, gradients) = trained(decay);
            for (key, (name, variable)) in variables().trainable().enumerate() {
                let mut parameter = variable.detach().copy();
                let (mut first, mut second) = (parameter.zeros_like(), parameter.zeros_like());
                for (step, gradients) in gradients.iter().enumerate() {
                    let mut gradient = gradients[key].shallow_clone();
                    if decay != 0.0 {
                        gradient = gradient.addcmul(&parameter, &Tensor::from_slice(&[decay as f32]));
                    }
                    let t = (step + 1) as f64;
                    let _ = first.lerp_(&gradient, 1.0 - 0.9);
                    let _ = second.g_mul_scalar_(0.999);
                    let _ = second.addcmul_(&(&gradient * (1.0 - 0.999)), &gradient);
                    let scale = second.sqrt() / (1.0 - 0.999f64.powf(t)).sqrt() + 1e-8;
                    let _ = parameter.addcdiv_(&(&first * -(RATE / (1.0 - 0.9f64.powf(t)))), &scale);
                }
                assert_eq!(flat[name], parameter, "{name} with decay {decay}");
            }
        }
    }

    #[test]
    fn it_follows_the_published_formula() {
        const DECAY: f64 = 1e-4;
        let (seen, gradients) = trained(DECAY);
        for (key, (name, variable)) in variables().trainable().enumerate() {
            let numbers = |tensor: &Tensor| Vec::<f64>::try_from(tensor.to_kind(Kind::Double)).unwrap();
            let mut expected = numbers(&variable.detach());
            let mut moments = vec![(0.0, 0.0); expected.len()];
            for (step, gradients) in gradients.iter().enumerate() {
                let t = step as i32 + 1;
                for ((p, (m, v)), g) in expected.iter_mut().zip(&mut moments).zip(numbers(&gradients[key])) {
                    let g = g + DECAY * *p;
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
                    *p -= RATE * m / (v.sqrt() + 1e-8);
                }
            }
            for (seen, expected) in numbers(&seen[name]).into_iter().zip(expected) {
                assert!((seen - expected).abs() < 2e-6, "{name}: {seen} {expected}");
            }
        }
    }

    #[test]
    fn resumed_moments_give_the_same_bits() {
        let whole = trained(1e-4).0;
        let first = variables();
        let mut adam = Adam::new(&first, &spec(1e-4)).unwrap();
        for step in 1..=13 {
            adam.step(&loss(&first, step), RATE).unwrap();
        }
        let second = variables();
        let mut resumed = Adam::new(&second, &spec(1e-4)).unwrap();
        second.set(&first.copies().unwrap()).unwrap();
        resumed.resume(adam.steps(), &adam.moments().unwrap()).unwrap();
        for step in 14..=STEPS {
            resumed.step(&loss(&second, step), RATE).unwrap();
        }
        assert_eq!(second.copies().unwrap(), whole);
    }

    #[test]
    fn a_variable_on_which_the_loss_does_not_depend_stays() {
        let variables = variables();
        let before = variables.copies().unwrap();
        let mut adam = Adam::new(&variables, &spec(0.0)).unwrap();
        let (_, reached) = variables.trainable().next().unwrap();
        adam.step(&reached.square().sum(Kind::Float), RATE).unwrap();
        let after = variables.copies().unwrap();
        assert_ne!(after["v0"], before["v0"]);
        assert!(["v1", "v5", "running"].iter().all(|&name| after[name] == before[name]));
    }
}

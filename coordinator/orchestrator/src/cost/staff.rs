//! The workers and the devices that have been heard of, by number.

use std::collections::BTreeMap;

/// A worker, as far as the time of its jobs is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// `None` for one that has yet to come.
    pub(super) worker: Option<u32>,
    /// `None` if its device is not known.
    pub(super) device: Option<u32>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Staff {
    workers: BTreeMap<String, u32>,
    /// By the number of the worker.
    device_of: Vec<Option<u32>>,
    devices: Vec<String>,
}

impl Staff {
    /// The worker with this name.
    pub(super) fn worker(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.workers.get(name) {
            return known;
        }
        let number = self.device_of.len() as u32;
        self.workers.insert(name.to_owned(), number);
        self.device_of.push(None);
        number
    }

    /// The device of this model, such as `NVIDIA H200`.
    pub(super) fn device(&mut self, model: &str) -> u32 {
        let known = self.devices.iter().position(|device| device == model);
        known.unwrap_or_else(|| {
            self.devices.push(model.to_owned());
            self.devices.len() - 1
        }) as u32
    }

    /// The worker with this name has such a device.
    pub(super) fn equip(&mut self, name: &str, model: &str) -> u32 {
        let (worker, device) = (self.worker(name), self.device(model));
        self.device_of[worker as usize] = Some(device);
        worker
    }

    pub(super) fn seat(&self, worker: u32) -> Seat {
        Seat { worker: Some(worker), device: self.device_of.get(worker as usize).copied().flatten() }
    }

    /// The worker that is already known by this name.
    pub(super) fn find(&self, name: &str) -> Option<Seat> {
        self.workers.get(name).map(|&worker| self.seat(worker))
    }

    /// What the device of a seat is called.
    pub(super) fn device_name(&self, seat: Seat) -> &str {
        seat.device.map_or("a device that is not known yet", |device| &self.devices[device as usize])
    }

    /// The devices by name, in the order in which they were heard of.
    pub(super) fn devices(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..).zip(self.devices.iter().map(String::as_str))
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.device_of.len(), self.devices.len())
    }
}

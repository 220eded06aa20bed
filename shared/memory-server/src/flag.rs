//! A value that can be waited on. Waiters are woken in the order in which they began to wait. tokio's own `watch` wakes
//! them in random order, so that a simulated history would not repeat.

use std::sync::Mutex;

use tokio::sync::Notify;

use super::unpoisoned;

/// Shared between tasks behind an `Arc`.
#[derive(Debug, Default)]
pub struct Flag<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Flag<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub fn get(&self) -> T {
        *unpoisoned(&self.value)
    }

    pub fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut unpoisoned(&self.value));
        self.changed.notify_waiters();
    }

    /// Waits until `holds` is true of the value.
    pub async fn wait_for(&self, holds: impl Fn(T) -> bool) {
        loop {
            let changed = self.changed.notified(); // Before the check, so that no change is missed.
            if holds(self.get()) {
                return;
            }
            changed.await;
        }
    }
}

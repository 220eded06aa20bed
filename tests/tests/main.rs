//! All tests of the whole system as one program: it is linked once, and a slow test does not hold up the next file.

mod backup;
mod bad_workers;
mod blobs;
mod chaos;
mod clocks;
mod cluster;
mod contract;
mod crashes;
mod disk;
mod endurance;
mod faults;
mod heartbeat;
mod hosts;
mod interruptions;
mod join;
mod memory;
mod permissions;
mod predict;
mod retry;
mod signals;
mod simulation;
mod starting;
mod store;
mod tidy;
mod versions;
mod weights;

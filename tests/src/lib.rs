//! What whole-system tests need: a nats-server, the two programs, and waiting for events instead of sleeping.

pub mod programs;
pub mod server;
pub mod wait;

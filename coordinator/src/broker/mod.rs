//! The NATS server that Ferry talks to.

pub mod binary;

//! The sweep as a whole.

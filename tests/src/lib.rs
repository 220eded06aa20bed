//! Whole-system tests: real processes, a real nats-server. Helpers live here, tests under `tests/`.

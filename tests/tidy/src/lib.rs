//! Rules of the source tree, as tests: see `tests/rules.rs`.

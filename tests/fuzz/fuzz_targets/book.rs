//! See `fuzz_targets::book`.
#![no_main]

#[path = "../../src/fuzz_targets.rs"]
#[allow(dead_code, reason = "each program runs one of them")]
mod fuzz_targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::book(bytes));

//! Fuzzes encoded events.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::events(input));

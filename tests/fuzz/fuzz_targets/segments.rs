//! Fuzzes segment files and what recovery makes of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::segments(input));

//! Fuzzes patterns and the data they look into.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::patterns(input));

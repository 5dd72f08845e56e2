//! Fuzzes records of the settlements' journal.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::settlements(input));

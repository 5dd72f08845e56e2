//! Fuzzes what a local function sends to its Runtime API.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::runtime_api(input));

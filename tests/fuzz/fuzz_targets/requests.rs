//! Fuzzes HTTP requests that carry CloudEvents.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::requests(input));

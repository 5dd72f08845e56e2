//! Fuzzes publishing requests as the HTTP API reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::ingest(input));

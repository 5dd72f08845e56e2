//! Fuzzes the inputs of triggers: paths, templates, constants and jq.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::inputs(input));

//! Fuzzes the bytes of a stream of Eventail's own protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| eventail_tests::fuzz::frames(input));

//! Micro benches of the hot path: encode, append on a memory disk, frame decode, match, settle. One event each, 1 KiB.
//!
//! `cargo bench -p eventail-benches`
#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod micro {
    //! The benches by crate.
    pub(crate) mod deliver;
    pub(crate) mod patterns;
    pub(crate) mod storage;
    pub(crate) mod wire;
}

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    micro::wire::encode,
    micro::storage::append,
    micro::wire::decode_frame,
    micro::deliver::match_patterns,
    micro::patterns::against_quamina,
    micro::patterns::one_core,
    micro::deliver::settle
);
criterion_main!(benches);

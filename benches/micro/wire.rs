//! Events and frames: what every published event passes on its way in.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use eventail_benches::payload::Payloads;
use eventail_wire::Event;
use eventail_wire::frame::{FrameBuffer, FrameDecoder, PublishHeader};
use eventail_wire::limits::FRAME_BYTES_MAX;

const BATCH: u64 = 1_000;

/// Attributes and data to the bytes of a record, and the check that a publish passes once.
pub(crate) fn encode(criterion: &mut Criterion) {
    let data = Payloads::new(1, 1024).expect("a valid size").data(1);
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            Event::builder("0001", "/bench", "bench.event").json_data(black_box(&data).clone()).build()
        });
    });
    let encoded = Payloads::new(1, 1024).expect("a valid size").event(1).as_bytes().clone();
    group.bench_function("decode_and_check", |bencher| {
        bencher.iter(|| Event::decode(black_box(&encoded).clone()));
    });
    let event = Event::from_stored(encoded).expect("an encoded event");
    group.bench_function("fingerprint", |bencher| bencher.iter(|| black_box(&event).fingerprint()));
    group.finish();
}

/// A publish frame of 1,000 events, in pieces of a packet's size as QUIC hands them over.
pub(crate) fn decode_frame(criterion: &mut Criterion) {
    let payloads = Payloads::new(1, 1024).expect("a valid size");
    let events: Vec<Bytes> = (0..BATCH).map(|n| payloads.event(n).as_bytes().clone()).collect();
    let mut buffer = FrameBuffer::new();
    let header = PublishHeader { request: 1, topic: "bench".to_owned() };
    buffer.push_publish(&header, events.iter()).expect("it is within the limits");
    let mut frame = BytesMut::new();
    for piece in buffer.pieces() {
        frame.extend_from_slice(piece);
    }
    let frame = frame.freeze();
    let packets: Vec<Bytes> =
        (0..frame.len()).step_by(1200).map(|at| frame.slice(at..frame.len().min(at + 1200))).collect();
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("decode_publish_of_1000", |bencher| {
        bencher.iter_batched_ref(
            || FrameDecoder::new(FRAME_BYTES_MAX),
            |decoder| {
                decoder.extend(black_box(&packets));
                decoder.next_frame().expect("a valid frame").expect("a whole frame")
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

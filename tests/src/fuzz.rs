//! What the fuzz targets do with their bytes, so that a plain test can do the same with a committed corpus.
//!
//! Each function must return for any input at all, and checks what must hold of whatever was accepted.

mod configs;
mod ingest;
mod inputs;
mod runtime_api;
mod segments;
mod settlements;

pub use configs::configs;
pub use ingest::ingest;
pub use inputs::inputs;
pub use runtime_api::runtime_api;
pub use segments::segments;
pub use settlements::settlements;

use bytes::Bytes;
use eventail_triggers::pattern::{Matcher, Pattern, Scratch};
use eventail_wire::Event;
use eventail_wire::cloudevents::{
    BatchLimits, Mode, decode_batch, decode_binary, decode_structured, encode_structured,
};
use eventail_wire::frame::{Frame, FrameBuffer, FrameDecoder};

/// A fuzz target: what it does with its bytes.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("configs", configs),
    ("events", events),
    ("frames", frames),
    ("ingest", ingest),
    ("inputs", inputs),
    ("patterns", patterns),
    ("requests", requests),
    ("runtime_api", runtime_api),
    ("segments", segments),
    ("settlements", settlements),
];

/// A small limit, so that a lying length shows soon.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// The bytes of a stream, cut into packets. A frame that is accepted is written and read back as the same frame.
pub fn frames(input: &[u8]) {
    for packet_bytes in [1, 7, 1200, usize::MAX] {
        let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
        for packet in input.chunks(packet_bytes.min(input.len().max(1))) {
            decoder.extend(&[Bytes::copy_from_slice(packet)]);
            while let Ok(Some(frame)) = decoder.next_frame() {
                read_back(&frame);
            }
        }
        assert!(decoder.pending_bytes() <= input.len(), "a decoder holds more than it was given");
    }
}

fn read_back(frame: &Frame) {
    if let Frame::Publish(_, events) | Frame::Deliver(_, events) = frame {
        for event in events.iter() {
            self::events(&event);
        }
    }
    let mut buffer = FrameBuffer::new();
    buffer.push(frame).expect("what was read can be written");
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    decoder.extend(buffer.pieces());
    assert_eq!(decoder.next_frame().expect("what was written can be read").as_ref(), Some(frame));
}

/// The bytes of a stored event. What is accepted keeps the rules and can be built again.
pub fn events(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(stored) = Event::from_stored(bytes.clone()) {
        // Checked by a checksum elsewhere; looking into it must be safe all the same.
        let _looked =
            (stored.id().len(), stored.optional_attributes().count(), stored.data(), stored.traceparent());
    }
    if let Ok(event) = Event::decode(bytes) {
        let again = event.to_builder().build().expect("an accepted event can be built again");
        assert_eq!(again, event);
        let json = Bytes::from(encode_structured(&event));
        let back = decode_structured(&json).expect("what was written can be read");
        assert_eq!(
            (back.id(), back.source(), back.event_type()),
            (event.id(), event.source(), event.event_type())
        );
    }
}

/// The body of a request behind one line with its content type; other lines up to an empty one are headers.
pub fn requests(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (head, body) = text.split_once("\n\n").unwrap_or(("", &text));
    let headers: Vec<(&str, &[u8])> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.and_then(|(_, value)| std::str::from_utf8(value).ok());
    let accepted = match Mode::of_content_type(content_type) {
        Ok(Mode::Structured) => decode_structured(&body).map(|event| vec![event]),
        Ok(Mode::Batched) => decode_batch(&body, BatchLimits::default()),
        Ok(_) => decode_binary(headers, body).map(|event| vec![event]),
        Err(error) => Err(error),
    };
    for event in accepted.into_iter().flatten() {
        let checked = Event::decode(event.as_bytes().clone()).expect("an accepted event keeps the rules");
        assert_eq!(checked, event);
    }
}

/// A pattern, an empty line, and the data of an event. What is accepted can be matched.
pub fn patterns(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (pattern, data) = text.split_once("\n\n").unwrap_or((&text, "{}"));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let event = Event::builder("1", "/fuzz", "fuzz").json_data(data.as_bytes().to_vec()).build();
    let Ok(event) = event else { return };
    let matcher = Matcher::new(&[Some(pattern), None]);
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    matcher.matches(&event, &mut scratch, &mut out);
    let first = out.clone();
    matcher.matches(&event, &mut scratch, &mut out);
    assert_eq!(
        (out.as_slice(), out.last()),
        (first.as_slice(), Some(&1)),
        "matching depends on what came before"
    );
}

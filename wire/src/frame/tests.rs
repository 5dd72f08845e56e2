//! Frames round trip whatever the pieces they come in, and nothing that comes in panics.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{Code, HeldId, Offset, Timestamp, limits};

fn decode_all(decoder: &mut FrameDecoder) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut buffer = FrameBuffer::new();
    for frame in frames {
        buffer.push(frame).unwrap();
    }
    let expected = buffer.len();
    let bytes = buffer.pieces().concat();
    assert_eq!(bytes.len(), expected);
    bytes
}

fn decoder() -> FrameDecoder {
    FrameDecoder::new(limits::FRAME_BYTES_MAX)
}

fn events() -> impl Strategy<Value = Vec<Bytes>> {
    vec(vec(any::<u8>(), 0..60).prop_map(Bytes::from), 0..6)
}

fn raw(events: &[Bytes]) -> RawEvents {
    RawEvents::from_events(events).unwrap()
}

fn tokens() -> impl Strategy<Value = Vec<u64>> {
    vec(any::<u64>(), 0..20)
}

fn code() -> impl Strategy<Value = Code> {
    proptest::sample::select(Code::ALL)
}

fn action() -> impl Strategy<Value = CallbackAction> {
    let ms = || proptest::option::of(any::<u64>());
    prop_oneof![
        Just(CallbackAction::Ack),
        (ms(), ".{0,9}").prop_map(|(after_ms, reason)| CallbackAction::Nack { after_ms, reason }),
        ".{0,9}".prop_map(|reason| CallbackAction::Reject { reason }),
        ms().prop_map(|by_ms| CallbackAction::Extend { by_ms }),
    ]
}

fn outcome() -> impl Strategy<Value = CallbackOutcome> {
    prop_oneof![
        Just(CallbackOutcome::Delivered),
        any::<u64>().prop_map(|at| CallbackOutcome::Retry { at: Timestamp(at) }),
        Just(CallbackOutcome::DeadLettered),
        any::<u64>().prop_map(|at| CallbackOutcome::Extended { deadline: Timestamp(at) }),
        Just(CallbackOutcome::Kept),
    ]
}

fn from_client() -> impl Strategy<Value = Frame> {
    let start = prop_oneof![
        Just(Start::Latest),
        Just(Start::Earliest),
        any::<u64>().prop_map(|at| Start::At(Timestamp(at)))
    ];
    prop_oneof![
        (any::<u32>(), ".{0,20}", proptest::option::of(".{0,20}"))
            .prop_map(|(version, client, token)| Frame::Hello(Hello { version, client, token })),
        (any::<u64>(), ".{0,20}", events()).prop_map(|(request, topic, events)| Frame::Publish(
            PublishHeader { request, topic },
            raw(&events)
        )),
        (any::<u64>(), ".{0,9}", proptest::option::of(".{0,30}"), start, any::<u64>(), any::<u32>())
            .prop_map(|(request, name, pattern, start, lease_ms, credit)| Frame::Subscribe(Subscribe {
                request,
                topic: name.clone(),
                name,
                pattern,
                start,
                lease_ms,
                max_attempts: credit / 2,
                credit,
            })),
        any::<u32>().prop_map(|deliveries| Frame::Credit(Credit { deliveries })),
        tokens().prop_map(|tokens| Frame::Ack(Tokens { tokens })),
        tokens().prop_map(|tokens| Frame::Extend(Tokens { tokens })),
        (tokens(), proptest::option::of(any::<u64>()), ".{0,9}")
            .prop_map(|(tokens, delay_ms, reason)| Frame::Nack(Nack { tokens, delay_ms, reason })),
        (tokens(), ".{0,9}").prop_map(|(tokens, reason)| Frame::Reject(Reject { tokens, reason })),
        Just(Frame::Goodbye),
        (any::<u64>(), ".{0,40}", action()).prop_map(|(request, token, action)| Frame::CallBack(CallBack {
            request,
            token,
            action
        })),
    ]
}

fn from_server() -> impl Strategy<Value = Frame> {
    let run = (any::<u64>(), any::<u32>(), any::<bool>()).prop_map(|(offset, count, duplicate)| ResultRun {
        offset: Offset(offset),
        count,
        duplicate,
    });
    prop_oneof![
        (any::<u32>(), ".{0,20}", any::<u64>()).prop_map(|(version, server, limit)| Frame::Welcome(
            Welcome {
                version,
                server,
                limits: PeerLimits {
                    event_bytes_max: limit,
                    batch_events_max: limit / 2,
                    batch_bytes_max: limit / 3,
                    frame_bytes_max: limit / 4,
                    credit_max: version,
                },
            }
        )),
        (any::<u64>(), vec(run, 0..5))
            .prop_map(|(request, runs)| Frame::Published(Published { request, runs })),
        (any::<u64>(), vec((0u32..9, any::<u64>(), any::<bool>()), 0..5)).prop_map(|(request, held)| {
            let held = held.into_iter().map(|(index, number, duplicate)| HeldResult {
                index,
                id: HeldId(number),
                deliver_at: Timestamp(number / 2),
                duplicate,
            });
            let run = ResultRun { offset: Offset(request), count: 3, duplicate: false };
            Frame::Held(Held { request, runs: vec![run], held: held.collect() })
        }),
        (any::<u64>(), code(), ".{0,30}", proptest::option::of(any::<u64>())).prop_map(
            |(request, code, message, retry_after_ms)| Frame::Refused(Refused {
                request,
                code,
                message,
                retry_after_ms
            })
        ),
        any::<u64>().prop_map(|request| Frame::Subscribed(Subscribed { request })),
        (vec(any::<u64>(), 0..5), vec(any::<u8>(), 0..60)).prop_map(|(numbers, event)| {
            let headers: Vec<_> = numbers
                .iter()
                .map(|&number| DeliveryHeader {
                    token: number,
                    offset: Offset(number ^ 1),
                    appended_at: Timestamp(number / 2),
                    attempt: 3,
                    deadline: Timestamp::MAX,
                })
                .collect();
            let events = vec![Bytes::from(event); headers.len()];
            Frame::Deliver(headers, raw(&events))
        }),
        tokens().prop_map(|tokens| Frame::Stale(Tokens { tokens })),
        (code(), ".{0,30}").prop_map(|(code, message)| Frame::Fault(Fault { code, message })),
        (any::<u64>(), outcome())
            .prop_map(|(request, outcome)| Frame::CalledBack(CalledBack { request, outcome })),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![from_client(), from_server()]
}

proptest! {
    #[test]
    fn frames_read_back_whatever_pieces_they_come_in(frames in vec(frame(), 1..6), piece in 1usize..64) {
        let bytes = Bytes::from(encode(&frames));
        let mut decoder = decoder();
        let mut found = Vec::new();
        for at in (0..bytes.len()).step_by(piece) {
            decoder.extend(&[bytes.slice(at..bytes.len().min(at + piece))]);
            found.extend(decode_all(&mut decoder).unwrap());
        }
        prop_assert_eq!(found, frames);
        prop_assert_eq!(decoder.pending_bytes(), 0);
    }

    #[test]
    fn a_frame_split_at_any_byte_comes_only_when_it_is_whole(frame in frame()) {
        let bytes = Bytes::from(encode(std::slice::from_ref(&frame)));
        for at in 0..bytes.len() {
            let mut decoder = decoder();
            decoder.extend(&[bytes.slice(..at)]);
            prop_assert!(decoder.next_frame().unwrap().is_none());
            prop_assert_eq!(decoder.pending_bytes(), at);
            decoder.extend(&[bytes.slice(at..)]);
            prop_assert_eq!(decoder.next_frame().unwrap(), Some(frame.clone()));
        }
    }

    #[test]
    fn decoding_is_total(bytes in vec(any::<u8>(), 0..200)) {
        let mut decoder = decoder();
        decoder.extend(&[Bytes::from(bytes)]);
        let _ = decode_all(&mut decoder);
    }

    #[test]
    fn a_damaged_frame_never_panics_and_an_error_stays(frame in frame(), at in any::<usize>(), value in any::<u8>()) {
        let mut bytes = encode(&[frame]);
        let at = at % bytes.len();
        bytes[at] = value;
        let mut decoder = decoder();
        decoder.extend(&[Bytes::from(bytes)]);
        if let Err(error) = decode_all(&mut decoder) {
            decoder.extend(&[Bytes::from(encode(&[Frame::Goodbye]))]);
            let again = decoder.next_frame().unwrap_err();
            prop_assert_eq!(again.to_string(), error.to_string());
        }
    }

    #[test]
    fn any_body_of_any_kind_is_decoded_totally(number in any::<u8>(), body in vec(any::<u8>(), 0..100)) {
        let mut bytes = u32::try_from(body.len() + 1).unwrap().to_le_bytes().to_vec();
        bytes.push(number);
        bytes.extend(body);
        let mut decoder = decoder();
        decoder.extend(&[Bytes::from(bytes)]);
        let _ = decode_all(&mut decoder);
    }

    #[test]
    fn both_ways_of_writing_a_publish_give_the_same_bytes(request in any::<u64>(), mut events in events(), large in 0usize..40_000) {
        events.push(Bytes::from(vec![7; large]));
        let header = PublishHeader { request, topic: "orders".to_owned() };
        let whole = encode(&[Frame::Publish(header.clone(), raw(&events)), Frame::Goodbye]);
        let mut buffer = FrameBuffer::new();
        buffer.push_publish(&header, events.iter()).unwrap();
        buffer.push(&Frame::Goodbye).unwrap();
        prop_assert_eq!(buffer.len(), whole.len());
        prop_assert_eq!(buffer.pieces().concat(), whole);
    }

    #[test]
    fn runs_tell_what_they_were_made_of(results in vec((0u64..8, any::<bool>()), 0..20)) {
        let results: Vec<_> = results.into_iter().map(|(offset, duplicate)| (Offset(offset), duplicate)).collect();
        let published = Published { request: 1, runs: result_runs(results.iter().copied()) };
        prop_assert_eq!(published.events(), results.len() as u64);
        prop_assert_eq!(published.results().collect::<Vec<_>>(), results);
    }
}

#[test]
fn a_lying_length_is_refused_before_its_body_comes() {
    let mut decoder = FrameDecoder::new(1000);
    decoder.extend(&[Bytes::from_static(&[0xff, 0xff, 0xff, 0x7f])]);
    let error = decoder.next_frame().unwrap_err();
    assert!(matches!(error, FrameError::TooLarge { bytes: 0x7fff_ffff, limit: 1000 }), "{error}");
    assert_eq!(error.code(), Code::FrameTooLarge);
}

#[test]
fn a_frame_without_events_is_held_to_its_own_limit() {
    let length = u32::try_from(limits::CONTROL_FRAME_BYTES_MAX + 1).unwrap();
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.push(FrameKind::Ack as u8);
    let mut decoder = decoder();
    decoder.extend(&[Bytes::from(bytes)]);
    assert_eq!(decoder.next_frame().unwrap_err().code(), Code::FrameTooLarge);
}

#[test]
fn what_is_no_frame_is_malformed() {
    for (bytes, why) in [
        (&[0, 0, 0, 0][..], "empty"),
        (&[1, 0, 0, 0, 0x40], "unknown kind"),
        (&[2, 0, 0, 0, FrameKind::Goodbye as u8, 0], "a body where there is none"),
        (&[2, 0, 0, 0, FrameKind::Hello as u8, 0xc1], "no MessagePack"),
        (&[4, 0, 0, 0, FrameKind::Credit as u8, 0x91, 1, 1], "bytes behind"),
        (&[4, 0, 0, 0, FrameKind::Credit as u8, 0x92, 1, 1], "a field too many"),
        (&[5, 0, 0, 0, FrameKind::Publish as u8, 9, 0, 0, 0], "a header longer than the frame"),
        (&[9, 0, 0, 0, FrameKind::Deliver as u8, 1, 0, 0, 0, 0x90, 5, 0, 0], "half an event"),
    ] {
        let mut decoder = decoder();
        decoder.extend(&[Bytes::copy_from_slice(bytes)]);
        assert_eq!(decoder.next_frame().unwrap_err().code(), Code::Malformed, "{why}");
    }
}

#[test]
fn events_share_the_bytes_of_their_frame() {
    let large = Bytes::from(vec![1; 50_000]);
    let bytes = Bytes::from(encode(&[Frame::Publish(
        PublishHeader { request: 1, topic: "t".to_owned() },
        raw(&[large.clone(), Bytes::from_static(b"small")]),
    )]));
    let mut decoder = decoder();
    decoder.extend(&[bytes]);
    let Some(Frame::Publish(_, events)) = decoder.next_frame().unwrap() else { panic!("a publish") };
    let whole = events.as_bytes().as_ptr_range();
    for event in events.iter() {
        assert!(whole.contains(&event.as_ptr()));
    }
    assert_eq!(events.events_bytes(), 50_005);
    assert_eq!(events.iter().next(), Some(large));
}

#[test]
fn a_large_event_goes_out_without_a_copy() {
    let event = Bytes::from(vec![1; 100_000]);
    let mut buffer = FrameBuffer::new();
    buffer.push_publish(&PublishHeader { request: 1, topic: "t".to_owned() }, [&event].into_iter()).unwrap();
    assert!(buffer.pieces().iter().any(|piece| piece.as_ptr() == event.as_ptr()));
}

#[test]
fn what_was_written_is_forgotten() {
    let mut buffer = FrameBuffer::new();
    buffer.push(&Frame::Goodbye).unwrap();
    let pieces = buffer.pieces();
    pieces[0] = pieces[0].slice(2..);
    buffer.consume(2, 0);
    assert_eq!(buffer.len(), 3);
    buffer.push(&Frame::Goodbye).unwrap();
    assert_eq!(buffer.pieces().concat(), [0, 0, 9, 1, 0, 0, 0, 9]);
    buffer.consume(8, 2);
    assert!(buffer.is_empty() && buffer.pieces().is_empty());
}

#[test]
fn a_hello_without_a_token_is_the_one_that_older_clients_send_and_a_token_never_prints() {
    let hello = |token| Hello { version: 1, client: "c".to_owned(), token };
    // Length, kind, an array of two: the number 1, the text "c".
    assert_eq!(encode(&[Frame::Hello(hello(None))]), [5, 0, 0, 0, 0x01, 0x92, 1, 0xa1, b'c']);
    let with = hello(Some("evt_secret".to_owned()));
    assert!(!format!("{with:?}").contains("secret"), "{with:?}");
}

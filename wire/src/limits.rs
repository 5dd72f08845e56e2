//! Every cap of the protocol, by name, with its reason. A config key of the same meaning has the constant as its default.

/// An event as encoded (attributes and data). 1 MiB: what EventBridge and most webhook targets take, with room.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// The most that `limits.event_bytes_max` may be set to: an event must fit into one batch of the log.
pub const EVENT_BYTES_CEILING: usize = 16 << 20;
/// Attributes of one event, required and extensions together: a pattern looks through them one by one.
pub const ATTRIBUTES_MAX: usize = 64;
/// An attribute's name. CloudEvents advises 20; some extensions in use are longer.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// An attribute's value: it becomes an HTTP header, and servers commonly refuse headers over 8 KiB.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 4096;
/// All attributes of one event together: below what HTTP servers take as the whole of the headers.
pub const ATTRIBUTES_BYTES_MAX: usize = 32 << 10;
/// Events in one publish, by frame or by HTTP batch.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// Bytes in one publish, by frame or by HTTP batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// A frame of the protocol, its length prefix not counted: a batch and its header.
pub const FRAME_BYTES_MAX: usize = EVENT_BYTES_CEILING + (64 << 10);
/// A frame that carries no events: thousands of tokens fit, and what it expands to in memory stays small.
pub const CONTROL_FRAME_BYTES_MAX: usize = 256 << 10;
/// A topic's or trigger's name: it is a folder's name, and file systems take 255 bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Topics in one broker: each has an open file and some kilobytes of memory.
pub const TOPICS_MAX: usize = 10_000;
/// Triggers and subscriptions that the journal keeps a state of, used or not: each is some memory and a part of every snapshot.
pub const SUBSCRIPTIONS_MAX: usize = 50_000;
/// Connections at once, HTTP and QUIC each.
pub const CONNECTIONS_MAX: usize = 10_000;
/// The part of all connections that one address may have, unless the configuration says how many: three that agree still leave room.
pub const CONNECTIONS_PER_ADDRESS_PART: usize = 4;
/// TLS handshakes under way at once, HTTP and QUIC each: some ten KiB of memory each, for as long as the client takes.
pub const TLS_HANDSHAKES_MAX: usize = 1_024;
/// Bytes of published events that wait for their sync, over all publishers; past it publishers are held back.
pub const IN_FLIGHT_BYTES_MAX: usize = 128 << 20;
/// How long the first publish in a topic's line may have waited when another gets in line: syncs take milliseconds, and who waits for
/// seconds had better know that he has to.
pub const PUBLISH_WAIT_MS: u64 = 2_000;
/// All header bytes of an HTTP request: the attributes' cap and as much again for the rest.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Headers of an HTTP request.
pub const HEADERS_MAX: usize = 128;
/// Deliveries that one subscriber may hold at once (its credit).
pub const CREDIT_MAX: u32 = 65_536;
/// The events that one page of a listing or a read may hold.
pub const PAGE_EVENTS_MAX: usize = 1_000;
/// The bytes that one page of a read may hold, unless its first event alone is larger.
pub const PAGE_BYTES_MAX: usize = 8 << 20;
/// How long a read may wait for an event to come.
pub const WAIT_MS_MAX: u64 = 60_000;
/// How many replies to replies make a loop, unless the config says otherwise.
pub const HOPS_MAX: u32 = 16;
/// Business keys that one trigger remembers to know repeats by: some 100 bytes each, and a part of every snapshot.
pub const DEDUP_KEYS_MAX: usize = 1_000_000;
/// What is kept of a target's response body in a dead letter.
pub const RESPONSE_SNIPPET_BYTES_MAX: usize = 2048;
/// What is kept of a function's log in a dead letter: as much as Lambda's `LogType=Tail` answers.
pub const LOG_TAIL_BYTES_MAX: usize = 4096;
/// What is read of a target's response body: a reply event must fit.
pub const RESPONSE_BODY_BYTES_MAX: usize = EVENT_BYTES_MAX + (64 << 10);
/// How long one attempt may take, and how far a callback may prolong one at once.
pub const LEASE_MS_MAX: u64 = 60 * 60 * 1000;
/// How long a callback is held open for its answer: by then the target's own answer was read, or the target waits for us.
pub const CALLBACK_WAIT_MS: u64 = 1_000;
/// Replays under way at once: each reads its log and calls a target beside the live events.
pub const REPLAYS_RUNNING_MAX: usize = 16;
/// Replays that are told of after their end; where there are more, the oldest go.
pub const REPLAYS_KEPT_MAX: usize = 1_000;
/// How long a replay is told of after its end.
pub const REPLAYS_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How far ahead an event may be held: a year, be it a leap year. Beyond that nobody knows what the event means.
pub const DELAY_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;
/// Events that are held at once: each is some hundred bytes of index beside its own on disk, and none in memory.
pub const DELAYED_EVENTS_MAX: usize = 1_000_000;
/// Bytes of all events that are held at once. The log that holds them takes twice as much disk.
pub const DELAYED_BYTES_MAX: usize = 4 << 30;
/// Delayed events that were released or cancelled and are still known, over all topics: so much longer can they be shown, and their
/// repeats be recognised before they are held. Past it the oldest are forgotten.
pub const DELAYED_REMEMBERED_MAX: usize = 100_000;
/// Functions and triggers (in pairs) that the ledger tells apart; what comes after is counted together. HTTP hosts are among them.
pub const LEDGER_KEYS_MAX: usize = 1_000;
/// How long the state of a trigger is kept that is not in the configuration any more.
pub const ORPHAN_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Hours that the ledger keeps, over all of these: some hundred bytes each. Where there are more, the oldest hours go.
pub const LEDGER_BUCKETS_MAX: usize = 200_000;
/// How long the ledger keeps an hour.
pub const LEDGER_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// What a local function may be sent and may answer: Lambda's own limit for answers, 6 MiB and 100 bytes.
pub const FUNCTION_PAYLOAD_BYTES_MAX: usize = (6 << 20) + 100;
/// What a function may be invoked with by whoever waits for its answer: as AWS Lambda has it (Lambda quotas, 2026).
pub const INVOKE_SYNC_BYTES_MAX: usize = 6 << 20;
/// What a function may be invoked with asynchronously: as AWS Lambda has it. It must fit into an event, too.
pub const INVOKE_ASYNC_BYTES_MAX: usize = 1 << 20;
/// The context of a client that invokes a function, as base64: as AWS Lambda has it.
pub const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;
/// What a trigger's input may be that is not the event itself: what a function may be sent.
pub const INPUT_BYTES_MAX: usize = 6 << 20;
/// How late a scheduled run may go before it counts as missed: as precise as EventBridge's schedules, and time enough to restart a
/// broker.
pub const SCHEDULE_LATE_MS: u64 = 60_000;
/// How far a clock may be set back while schedules wait for it to come to where they were: a zone's error or a leap is less, and more
/// means that the clock was wrong before.
pub const SCHEDULE_SET_BACK_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Runs that a listing of schedules tells ahead.
pub const SCHEDULE_RUNS_SHOWN: usize = 10;
/// Missed runs of a schedule that are made up for at most: each is an event at once.
pub const SCHEDULE_MISSED_MAX: u32 = 10_000;
/// A pattern's text: AWS takes two thousand bytes, long lists of values need more.
pub const PATTERN_BYTES_MAX: usize = 256 << 10;
/// The patterns that one pattern with `$or` may stand for, multiplied out: AWS has the same limit.
pub const PATTERN_ALTERNATIVES_MAX: usize = 1_000;
/// The most beginnings of one wildcard that the worst value may match at once, counted as AWS' reference implementation
/// counts them: AWS takes wildcards with 7 and refuses one with 11.
pub const WILDCARD_COMPLEXITY_MAX: usize = 10;
/// The same, added up over the wildcards of one pattern.
pub const PATTERN_COMPLEXITY_MAX: usize = 1_000;
/// The same, added up over the triggers of one topic: a value that calls for all of them costs a few milliseconds.
pub const TOPIC_COMPLEXITY_MAX: usize = 20_000;

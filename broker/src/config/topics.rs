//! `[topics]`: what holds for all topics, and the tables in it for single ones.

use eventail_storage::log::Durability;
use eventail_wire::TopicName;

use super::amount::{Count, count, set};
use super::model::{TopicOptions, Topics};
use super::problem::Problem;
use super::reader::{Reader, Section};
use super::schema;
use super::units::{ByteSize, Duration};

/// A segment that is smaller costs more in files than it frees in space.
const SEGMENT_BYTES_LEAST: ByteSize = ByteSize::from_bytes(64 << 10);
/// Positions in a segment are 32 bits.
const SEGMENT_BYTES_MOST: ByteSize = ByteSize::from_bytes(2 << 30);
/// The memory of ids grows with the window.
const DEDUP_WINDOW_MOST: Duration = Duration::from_secs(7 * 86_400);
/// At up to 40 bytes each this is 4 GB.
const DEDUP_IDS_MOST: u64 = 100_000_000;
/// A hundred years stand for "always"; who means that leaves the key out.
const RETENTION_AGE_MOST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads `[topics]`.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> Topics {
    let mut topics = Topics::default();
    let Some(found) = root.get("topics") else { return topics };
    let Some(table) = found.table(reader) else { return topics };
    let (section, named) =
        Section::with_names(reader, "topics", found.key_span.clone(), table, schema::TOPICS);
    set(&mut topics.auto_create, section.boolean(reader, "auto_create"));
    read_options(reader, &section, &mut topics.defaults);
    for topic in named {
        let Some(table) = topic.table(reader) else { continue };
        let path = section.child(&topic.key);
        let section = Section::new(reader, path, topic.key_span.clone(), table, schema::TOPIC);
        let mut options = topics.defaults.clone();
        read_options(reader, &section, &mut options);
        match name(&topic.key) {
            Ok(name) => drop(topics.named.insert(name, options)),
            Err(problem) => reader.note(problem, &topic.key_span),
        }
    }
    topics
}

/// A topic's name.
pub(super) fn name(text: &str) -> Result<TopicName, Problem> {
    TopicName::new(text).map_err(|source| Problem::Name { name: text.to_owned(), source })
}

fn read_options(reader: &mut Reader<'_>, section: &Section<'_>, options: &mut TopicOptions) {
    let durability = section.choice(
        reader,
        "durability",
        &["sync", "buffered"],
        &[Durability::Sync, Durability::Buffered],
    );
    set(&mut options.durability, durability);
    let segment = section.amount(reader, "segment_bytes", SEGMENT_BYTES_LEAST..=SEGMENT_BYTES_MOST);
    set(&mut options.segment_bytes, segment);
    if let Some(age) = section.amount(reader, "retention_age", Duration::from_secs(1)..=RETENTION_AGE_MOST) {
        options.retention_age_ms = Some(age);
    }
    let bytes = ByteSize::from_bytes(1 << 10)..=ByteSize::from_bytes(u64::MAX >> 1);
    if let Some(bytes) = section.amount(reader, "retention_bytes", bytes) {
        options.retention_bytes = Some(bytes);
    }
    let window = section.amount(reader, "dedup_window", Duration::default()..=DEDUP_WINDOW_MOST);
    set(&mut options.dedup_window_ms, window);
    let ids = section.amount(reader, "dedup_ids_max", Count(1)..=Count(DEDUP_IDS_MOST));
    options.dedup_ids_are_told |= ids.is_some();
    set(&mut options.dedup_ids_max, count(ids));
}

//! `[timeline]`: what is kept of what happened to events.

use super::amount::set;
use super::model::TimelineOptions;
use super::reader::{Reader, Section};
use super::schema;
use super::units::ByteSize;

/// Less than this holds no more than a few seconds of a busy broker.
const BYTES_LEAST: ByteSize = ByteSize::from_bytes(1 << 20);
/// More than this is no bound.
const BYTES_MOST: ByteSize = ByteSize::from_bytes(1 << 40);

/// Reads `[timeline]`: what is not said there stays the default.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> TimelineOptions {
    let mut options = TimelineOptions::default();
    let Some(section) = root.section(reader, "timeline", schema::TIMELINE) else { return options };
    set(&mut options.enabled, section.boolean(reader, "enabled"));
    set(&mut options.bytes_max, section.amount(reader, "bytes_max", BYTES_LEAST..=BYTES_MOST));
    options
}

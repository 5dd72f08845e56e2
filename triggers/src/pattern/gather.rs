//! From an event to the facts that patterns ask for: its attributes first, its data only when it is asked for.

use eventail_wire::event::{Event, ValueKind};

use super::facts::{Facts, Stored};
use super::names::{CORRELATION_ID, DETAIL, Names, RESOURCES};
use super::paths::{PathId, ROOT, StepId};
use super::scan::{EventTextError, scan};
use super::values::double;

/// What `datacontenttype` says of an event that came in through EventBridge's shape.
const EVENTBRIDGE_MEDIA_TYPE: &str = "application/eventbridge+json";

/// Reads an attribute that every event has.
type Read = fn(&Event) -> &str;

/// One event while it is looked at.
pub(super) struct Gather<'a> {
    pub(super) names: &'a Names,
    pub(super) bytes: &'a [u8],
    pub(super) facts: &'a mut Facts,
    /// The event whose data has not been looked at yet.
    unread: Option<&'a Event>,
    /// Whether EventBridge's names hold for it.
    has_aliases: bool,
    /// Whether the event has data that turned out not to be JSON.
    pub(super) has_other_data: bool,
}

impl<'a> Gather<'a> {
    /// Takes an event's attributes.
    pub(super) fn event(names: &'a Names, event: &'a Event, facts: &'a mut Facts) -> Self {
        let mut gather = Self::begin(names, event.as_bytes(), facts);
        gather.unread = Some(event);
        gather.has_aliases = names.has_aliases() && is_eventbridge(event);
        gather.take_attributes(event);
        gather
    }

    /// Takes all of a JSON object.
    pub(super) fn json(
        names: &'a Names,
        json: &'a [u8],
        facts: &'a mut Facts,
    ) -> Result<Self, EventTextError> {
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(EventTextError { what: "it does not begin with a brace", at: 0 });
        }
        let gather = Self::begin(names, json, facts);
        scan(json, 0, &names.paths, ROOT, gather.facts)?;
        Ok(gather)
    }

    fn begin(names: &'a Names, bytes: &'a [u8], facts: &'a mut Facts) -> Self {
        facts.begin(names.paths.count());
        Self { names, bytes, facts, unread: None, has_aliases: false, has_other_data: false }
    }

    fn take_attributes(&mut self, event: &Event) {
        let named = &self.names.attributes;
        let detail_type = if self.has_aliases { named.detail_type } else { None };
        let fixed: [(_, Read); 6] = [
            (named.id, Event::id),
            (named.source, Event::source),
            (named.event_type, Event::event_type),
            (named.correlation_id, Event::correlation_id),
            (named.spec_version, |_| "1.0"),
            (detail_type, Event::event_type),
        ];
        for (path, read) in fixed {
            if let Some(path) = path {
                self.take(path, ValueKind::String, read(event));
            }
        }
        if !named.has_others {
            return;
        }
        let paths = &self.names.paths;
        for attribute in event.optional_attributes().filter(|attribute| attribute.name != CORRELATION_ID) {
            let Some(step) = paths.child(ROOT, attribute.name.as_bytes()) else { continue };
            if self.has_aliases && self.is_replaced(attribute.name, attribute.value, step) {
                continue;
            }
            if let Some(path) = paths.path(step) {
                self.take(path, attribute.kind, attribute.value);
            }
        }
    }

    /// Whether an attribute's name means something else in EventBridge's shape, and takes that.
    fn is_replaced(&mut self, name: &str, value: &str, step: StepId) -> bool {
        match name {
            // It is the data's name.
            DETAIL => true,
            RESOURCES => match self.place(value) {
                Stored::Text { start, end } if value.trim_start().starts_with('[') => {
                    self.scan(start, end, step)
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn take(&mut self, path: PathId, kind: ValueKind, value: &str) {
        let stored = match kind {
            ValueKind::Boolean => Stored::Boolean(value == "true"),
            // Canonical integers of 32 bits are always held by a double.
            ValueKind::Integer => double(value.as_bytes()).map_or(Stored::Null, Stored::Number),
            ValueKind::String => self.place(value),
        };
        self.facts.add(path, stored);
    }

    /// The place of a value in the event's bytes; a value that is not in them is copied.
    fn place(&mut self, value: &str) -> Stored {
        let start = value.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr());
        let end = start.saturating_add(value.len());
        if end <= self.bytes.len() {
            return Stored::Text { start, end };
        }
        let unescaped = &mut self.facts.unescaped;
        let start = unescaped.len();
        unescaped.extend_from_slice(value.as_bytes());
        Stored::Unescaped { start, end: unescaped.len() }
    }

    /// Makes sure that values at the path have been looked for.
    #[inline]
    pub(super) fn reach(&mut self, path: PathId) {
        if path >= self.names.first_data_path
            && let Some(event) = self.unread.take()
        {
            self.read_data(event);
        }
    }

    fn read_data(&mut self, event: &Event) {
        if !event.has_data() {
            return;
        }
        if !event.is_json() {
            self.has_other_data = true;
            return;
        }
        let (start, end) = (self.bytes.len() - event.data_slice().len(), self.bytes.len());
        let detail = if self.has_aliases { self.names.detail } else { None };
        for step in [self.names.data, detail].into_iter().flatten() {
            self.has_other_data = !self.scan(start, end, step);
        }
    }

    /// Takes the values in a piece of JSON, if it is JSON: half of it must not match.
    fn scan(&mut self, start: usize, end: usize, step: StepId) -> bool {
        let mark = self.facts.mark();
        let done = scan(&self.bytes[..end], start, &self.names.paths, step, self.facts);
        if done.is_err() {
            self.facts.undo(mark);
        }
        done.is_ok()
    }
}

/// Whether an event came in through EventBridge's shape.
pub(crate) fn is_eventbridge(event: &Event) -> bool {
    let media_type = event.data_content_type().unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(EVENTBRIDGE_MEDIA_TYPE)
}

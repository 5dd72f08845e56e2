//! Lines put together to a batch of CloudEvents in JSON.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::error::LineProblem;

/// Bytes of a request: below the default limit of a broker, with room for what is put around data.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What may be put around one line's data.
const ENVELOPE_BYTES: usize = 16 << 10;

/// What is put around data to make an event of it.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// What ids begin with; the line's number follows. Random ids where absent.
    pub(super) id: Option<String>,
    /// The attribute `source`.
    pub(super) source: String,
    /// The attribute `type`.
    pub(super) event_type: String,
    /// The attribute `subject`.
    pub(super) subject: Option<String>,
}

/// An event as it is written.
#[derive(Serialize)]
struct Enveloped<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

/// Events that go out in one request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    body: Vec<u8>,
    events: u64,
    lines: Option<(u64, u64)>,
}

impl Batch {
    /// How many there are.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// Whether a line of so many bytes fits in.
    pub(super) const fn has_room(&self, line_bytes: usize) -> bool {
        self.body.len() + line_bytes + ENVELOPE_BYTES <= BATCH_BYTES_MAX
    }

    /// The line of the first event.
    pub(super) fn first_line(&self) -> Option<u64> {
        self.lines.map(|(first, _)| first)
    }

    /// The first and the last line.
    pub(super) fn lines(&self) -> (u64, u64) {
        self.lines.unwrap_or_default()
    }

    /// Adds a line: an event as it is, or data with an envelope around it. The line's own bytes are kept.
    pub(super) fn add(
        &mut self,
        number: u64,
        line: &[u8],
        envelope: Option<&Envelope>,
        new_id: impl FnOnce() -> String,
    ) -> Result<(), LineProblem> {
        let data: &RawValue = serde_json::from_slice(line).map_err(LineProblem::Json)?;
        let event = match envelope {
            Some(envelope) => serde_json::to_vec(&Enveloped {
                specversion: "1.0",
                id: envelope.id.as_ref().map_or_else(new_id, |id| format!("{id}-{number}")),
                source: &envelope.source,
                r#type: &envelope.event_type,
                subject: envelope.subject.as_deref(),
                datacontenttype: "application/json",
                data,
            })
            .map_err(LineProblem::Json)?,
            None if is_event(data) => data.get().as_bytes().to_vec(),
            None => return Err(LineProblem::NotAnEvent),
        };
        self.body.push(if self.body.is_empty() { b'[' } else { b',' });
        self.body.extend_from_slice(&event);
        self.events += 1;
        self.lines = Some((self.first_line().unwrap_or(number), number));
        Ok(())
    }

    /// The request's body; the batch is empty afterwards.
    pub(super) fn take(&mut self) -> Bytes {
        let mut body = std::mem::take(self).body;
        body.push(b']');
        body.into()
    }
}

/// Whether JSON is an object with `specversion`; whether it is a right event is the broker's to say.
fn is_event(json: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Marked<'a> {
        #[serde(borrow)]
        specversion: Option<&'a RawValue>,
    }
    serde_json::from_str::<Marked<'_>>(json.get()).is_ok_and(|marked| marked.specversion.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(id: Option<&str>) -> Envelope {
        Envelope {
            id: id.map(str::to_owned),
            source: "/s".to_owned(),
            event_type: "t".to_owned(),
            subject: None,
        }
    }

    #[test]
    fn lines_become_one_json_array_that_keeps_their_bytes() {
        let mut batch = Batch::default();
        batch.add(1, br#"{"a": 1.0}"#, Some(&envelope(Some("x"))), String::new).unwrap();
        batch.add(3, b"7", Some(&envelope(None)), || "random".to_owned()).unwrap();
        assert_eq!((batch.events(), batch.lines()), (2, (1, 3)));
        assert_eq!(
            std::str::from_utf8(&batch.take()).unwrap(),
            concat!(
                r#"[{"specversion":"1.0","id":"x-1","source":"/s","type":"t","datacontenttype":"application/json","data":{"a": 1.0}},"#,
                r#"{"specversion":"1.0","id":"random","source":"/s","type":"t","datacontenttype":"application/json","data":7}]"#,
            )
        );
        assert_eq!(batch.events(), 0);
    }

    #[test]
    fn events_go_out_as_they_are_and_what_is_none_is_refused() {
        let mut batch = Batch::default();
        let event = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        batch.add(1, event, None, String::new).unwrap();
        assert!(matches!(batch.add(2, b"{\"a\":1}", None, String::new), Err(LineProblem::NotAnEvent)));
        assert!(matches!(batch.add(3, b"{\"a\":", None, String::new), Err(LineProblem::Json(_))));
        assert_eq!(batch.take().as_ref(), [b"[".as_slice(), event, b"]"].concat());
    }
}

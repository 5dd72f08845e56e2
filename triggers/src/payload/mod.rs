//! What a function gets to see of events: one shape per trigger, for one event or a batch.

/// The shape of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadShape {
    /// The event as structured CloudEvents JSON; a batch is an array of them.
    #[default]
    CloudEvent,
    /// The envelope of an EventBridge bus; a batch is an array of them.
    EventBridge,
    /// What Lambda's event source mapping for SQS sends: `Records`, also for one event.
    Sqs,
    /// The data alone; a batch is an array of them.
    Raw,
}

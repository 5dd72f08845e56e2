//! The CloudEvents 1.0 JSON format and HTTP binding, in both directions.

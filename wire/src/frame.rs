//! The frames of Eventail's own protocol.

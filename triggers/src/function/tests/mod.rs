//! The host against real processes that speak the Runtime API by hand.

mod failures;
mod instances;
mod isolation;
mod limits;
mod protocol;
mod support;
mod target;

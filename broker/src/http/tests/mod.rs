//! The API over real sockets, against a real broker in a scratch folder.

mod admin;
mod deliveries;
mod functions;
mod invoke;
mod limits;
mod openapi;
mod publishing;
mod reach;
mod reading;
mod replays;
mod serving;
mod starting;
mod support;

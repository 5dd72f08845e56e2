//! The API over real sockets, against a real broker in a scratch folder.

mod openapi;

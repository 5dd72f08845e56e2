//! What a local function may send to its Runtime API.

use std::cell::RefCell;

use eventail_triggers::function::fuzzing::converse;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().build().expect("the system has room for a runtime"),
    );
}

/// All bytes of one connection. Whatever they are, the connection ends, and the invocation that waited ends with a word.
pub fn runtime_api(input: &[u8]) {
    let conversation = RUNTIME.with_borrow_mut(|runtime| runtime.block_on(converse(input)));
    let (heard, end) = conversation.expect("the system has room for two pipes");
    assert!(heard.is_empty() || heard.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&heard));
    assert!(!end.is_empty(), "an end without a word");
}

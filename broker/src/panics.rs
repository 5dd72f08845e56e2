//! What becomes of a panic: it is logged with its place and counted, by a hook; and what panicked is made to end in a way that somebody
//! sees, by whoever runs it ([`contained`]).
//!
//! - A request is answered with 500, a QUIC stream ends; the others go on.
//! - A call on a target counts as a failed attempt.
//! - A lane's task stops its trigger with a reason, and goes on when the trigger is resumed.
//! - What serves the broker itself (journal, feeds, schedules, upkeep) begins anew after a pause.
//! - A storage thread lives on; while writing it leaves its logs poisoned.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::time::Duration;

use metrics::counter;

use crate::metrics::PANICS;

pub(crate) use eventail_triggers::panics::{Panicked, contained};

/// How long whatever panicked rests before it begins anew: a mistake that comes again at once must not take a core.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// Has every panic of this process logged with its place, and counted, in place of a text on standard error. Once is enough; a program
/// that embeds the broker may have a hook of its own instead.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| std::panic::set_hook(Box::new(tell)));
}

fn tell(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = info.payload_as_str().unwrap_or("without a message");
    // Only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(place, thread, message, backtrace, "a mistake of the server: something panicked");
    counter!(PANICS).increment(1);
}

//! What keeps jq within bounds: a counter of steps and a look at the stack, asked by whatever jq does.
//!
//! jaq itself has neither. But it asks for its table of terms before it evaluates any term, and does everything to values
//! through the value type that it is given; both are ours, and both come here. One step is one term, one element of a list
//! or object that is made or copied, or some hundred bytes that are copied or compared: so the count bounds time and memory
//! alike, and it is the same on every machine.
//!
//! Where the bound is met, the evaluation is left by unwinding: jq's own `try` must not catch it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Bytes that are copied or compared in one step.
const STEP_BYTES: usize = 256;

/// Why an evaluation was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Steps,
    Depth,
    /// The evaluation panicked.
    Broken,
}

#[derive(Clone, Copy)]
struct Meter {
    steps_left: u64,
    /// The address that the stack may grow down to.
    stack_floor: usize,
}

thread_local! {
    static METER: Cell<Option<Meter>> = const { Cell::new(None) };
}

/// Runs `evaluate`, which may take so many steps and so many bytes of the stack.
pub(super) fn run<T>(steps: u64, stack_bytes: usize, evaluate: impl FnOnce() -> T) -> Result<T, Stop> {
    let meter = Meter { steps_left: steps, stack_floor: stack_address().saturating_sub(stack_bytes) };
    METER.set(Some(meter));
    // Nothing that the evaluation holds is looked at after it was left.
    let ended = catch_unwind(AssertUnwindSafe(evaluate));
    METER.set(None);
    ended.map_err(|why| why.downcast_ref().copied().unwrap_or(Stop::Broken))
}

/// Takes steps, and leaves the evaluation where there are not as many.
pub(super) fn take(steps: u64) {
    let Some(meter) = METER.get() else { return };
    // What is dropped on the way out cannot be stopped again.
    if std::thread::panicking() {
        return;
    }
    let Some(steps_left) = meter.steps_left.checked_sub(steps) else { stop(Stop::Steps) };
    if stack_address() < meter.stack_floor {
        stop(Stop::Depth);
    }
    METER.set(Some(Meter { steps_left, ..meter }));
}

/// Takes a step for every so many bytes that are copied or compared.
pub(super) fn take_bytes(bytes: usize) {
    take((bytes / STEP_BYTES) as u64 + 1);
}

/// Leaves the evaluation. The hook for panics is not called: this is none.
pub(super) fn stop(why: Stop) -> ! {
    resume_unwind(Box::new(why))
}

/// About where the stack ends now.
#[inline(never)]
fn stack_address() -> usize {
    let marker = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&marker)).addr()
}

//! Schedules: when something is to happen, and what of it is due, missed or yet to come. Pure: the time comes in as an argument.
//!
//! An [`Expression`] is `cron(...)` with EventBridge's six fields, `rate(...)` or `at(...)`. A [`Timetable`] ties it to a time
//! [`Zone`], a start and an end, and tells its runs. A [`Runner`] goes along a timetable and survives restarts.
//!
//! # `cron(minutes hours day-of-month month day-of-week year)`
//!
//! As EventBridge has it, to the minute. Exactly one of the two fields of days is `?`. Names (`JAN`, `MON`) are taken in any case.
//! `L` is the last day of the month, and Saturday as a day of the week; `5L` is the last Thursday of the month, `LW` its last weekday
//! (Monday to Friday), `3W` the weekday nearest to the 3rd within the month, `3#2` the second Tuesday. Ranges of minutes, hours,
//! months and days of the week may go over the end (`22-2`, `FRI-MON`). A day that a month does not have is none, with `W` as
//! without. A cron that never comes (the 30th of February) is refused.
//!
//! # Clocks that are changed
//!
//! `cron` and `at` go by what the zone's clocks show.
//!
//! - **Skipped time** (spring): runs whose time the clocks never show go together as one, at the first moment after the gap.
//! - **Repeated time** (autumn): a run goes once, at the first of the two moments. So `cron(0/15 * * * ? *)` does not run in the second
//!   of the two hours.
//! - **`rate` counts real time** and does not see the clocks at all: it is what to take where distances must stay even.
//!
//! Runs of one timetable are strictly one after the other, each moment at most once. Every search has an end: no year after
//! 2199 is looked at, and no month twice.

mod cron;
mod days;
mod error;
mod expression;
mod field;
mod runner;
#[cfg(test)]
mod tests;
mod zone;

pub use error::{Field, ScheduleError, ScheduleProblem};
pub use expression::{Expression, Timetable};
pub use runner::{Memory, MissedRuns, Run, Runner, RunnerOptions, Skipped, Step};
pub use zone::{UnknownZone, Zone};

/// The first year of `cron` and `at`.
pub const FIRST_YEAR: u16 = 1970;
/// Their last.
pub const LAST_YEAR: u16 = 2199;

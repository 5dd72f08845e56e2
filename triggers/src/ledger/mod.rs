//! The ledger: what functions did and cost.
//!
//! A [`Book`] counts every run in buckets of one hour per function and trigger, and sums them up. It has neither clock nor disk: the
//! broker keeps it, and writes what changed.

mod book;
mod bucket;
mod budget;
mod histogram;
mod prices;
pub mod report_line;
mod summary;
#[cfg(test)]
mod tests;

pub use book::{Book, Entry, Key, OTHERS};
pub use bucket::Bucket;
pub use budget::{Budget, BudgetAction, BudgetLevel, BudgetStatus, Spending, date_of, day_of};
pub use histogram::Histogram;
pub use prices::{Price, Prices};
pub use summary::{CostBasis, FunctionKind, Summary, TriggerShare};

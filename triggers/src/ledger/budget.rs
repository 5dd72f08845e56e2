//! Budgets: what a trigger may cost on one day (UTC), and when that is to be said.

use eventail_wire::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The share of a budget at which it is said that it will be spent soon.
const WARNING_SHARE: f64 = 0.8;

/// What a budget that is spent does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetAction {
    /// It says so, in the log and as a metric.
    #[default]
    Warn,
    /// It pauses the trigger until the next day (UTC).
    Pause,
}

/// The money that a trigger may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Dollars (or whatever the prices are in) per day, UTC.
    pub per_day: f64,
    /// What happens when they are spent.
    pub action: BudgetAction,
}

/// How much of a budget is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLevel {
    /// Less than 80 %.
    #[default]
    Within,
    /// 80 % or more.
    Warning,
    /// All of it.
    Spent,
}

/// A budget at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// What the trigger may cost a day.
    pub per_day: f64,
    /// What happens when that is spent.
    pub action: BudgetAction,
    /// The day that is counted, UTC: `2026-11-23`.
    pub day: String,
    /// What it has cost since the day began.
    pub spent: f64,
    /// How much of the budget that is.
    pub level: BudgetLevel,
}

impl Budget {
    /// How much of it so much money is.
    #[must_use]
    pub fn level(&self, spent: f64) -> BudgetLevel {
        if spent >= self.per_day {
            BudgetLevel::Spent
        } else if spent >= WARNING_SHARE * self.per_day {
            BudgetLevel::Warning
        } else {
            BudgetLevel::Within
        }
    }

    /// Whether the trigger is to stand still now.
    #[must_use]
    pub fn pauses(&self, spent: f64) -> bool {
        self.action == BudgetAction::Pause && self.level(spent) == BudgetLevel::Spent
    }
}

/// What a trigger has cost on one day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spending {
    day: u64,
    spent: f64,
    told: BudgetLevel,
}

impl Spending {
    /// Goes on from what was spent on the day of `now`; a level that was reached is taken as told.
    #[must_use]
    pub fn resume(budget: &Budget, now: Timestamp, spent: f64) -> Self {
        Self { day: day_of(now), spent, told: budget.level(spent) }
    }

    /// Adds what a call cost. A level that is reached for the first time on this day is answered, to be told.
    pub fn add(&mut self, budget: &Budget, now: Timestamp, cost: f64) -> Option<BudgetLevel> {
        self.turn(now);
        self.spent += cost;
        let level = budget.level(self.spent);
        (level > self.told).then(|| {
            self.told = level;
            level
        })
    }

    /// What was spent on the day of `now`.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> f64 {
        if day_of(now) == self.day { self.spent } else { 0.0 }
    }

    /// What people get to see.
    #[must_use]
    pub fn status(&self, budget: &Budget, now: Timestamp) -> BudgetStatus {
        let spent = self.spent(now);
        let Budget { per_day, action } = *budget;
        BudgetStatus { per_day, action, day: date_of(now), spent, level: budget.level(spent) }
    }

    /// Begins anew on another day.
    fn turn(&mut self, now: Timestamp) {
        let day = day_of(now);
        if day != self.day {
            *self = Self { day, spent: 0.0, told: BudgetLevel::Within };
        }
    }
}

/// Days since the Unix epoch, UTC.
#[must_use]
pub const fn day_of(now: Timestamp) -> u64 {
    now.0 / DAY_MS
}

/// The day (UTC) as people write it: `2026-11-23`.
#[must_use]
pub fn date_of(now: Timestamp) -> String {
    let mut text = now.to_string();
    text.truncate(text.find('T').unwrap_or(text.len()));
    text
}

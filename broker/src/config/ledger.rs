//! `[prices]` and the budget of a trigger: money. The currency is whatever the prices are in.

use eventail_triggers::ledger::{Budget, BudgetAction, Price, Prices};

use super::amount::set;
use super::problem::Problem;
use super::reader::{Reader, Section};
use super::schema;

/// No unit of any function costs more in any currency.
const PRICE_MOST: f64 = 1e6;
/// The least that a day may be allowed to cost: nothing at all would pause with the first call.
const PER_DAY_LEAST: f64 = 1e-9;
/// The most; above it a budget guards nothing.
const PER_DAY_MOST: f64 = 1e12;

/// Reads `[prices]`: what is not said there stays the default.
pub(super) fn read_prices(reader: &mut Reader<'_>, root: &Section<'_>) -> Prices {
    let mut prices = Prices::default();
    let Some(section) = root.section(reader, "prices", schema::PRICES) else { return prices };
    read_price(reader, &section, "x86", &mut prices.x86);
    read_price(reader, &section, "arm", &mut prices.arm);
    prices
}

fn read_price(reader: &mut Reader<'_>, prices: &Section<'_>, key: &'static str, price: &mut Price) {
    let Some(section) = prices.section(reader, key, schema::PRICE) else { return };
    set(&mut price.gib_second, section.number(reader, "gib_second", 0.0..=PRICE_MOST));
    set(&mut price.request, section.number(reader, "request", 0.0..=PRICE_MOST));
}

/// Reads `budget` of a trigger.
pub(super) fn read_budget(reader: &mut Reader<'_>, trigger: &Section<'_>) -> Option<Budget> {
    let section = trigger.section(reader, "budget", schema::BUDGET)?;
    if section.get("per_day").is_none() {
        reader.note(Problem::MissingKey { key: "per_day", section: section.title() }, &section.span);
    }
    let actions = [BudgetAction::Warn, BudgetAction::Pause];
    let action = section.choice(reader, "action", &["warn", "pause"], &actions);
    let per_day = section.number(reader, "per_day", PER_DAY_LEAST..=PER_DAY_MOST)?;
    Some(Budget { per_day, action: action.unwrap_or_default() })
}

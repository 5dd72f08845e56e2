//! `renamed_from` of a trigger: each state goes to one trigger at most, and only from one that is gone.

use std::collections::BTreeMap;
use std::ops::Range;

use eventail_wire::TriggerName;

use super::model::Trigger;
use super::problem::{Conflict, Problem};
use super::reader::{Reader, Section};

/// A trigger's name.
pub(super) fn name(text: &str) -> Result<TriggerName, Problem> {
    TriggerName::new(text).map_err(|source| Problem::Name { name: text.to_owned(), source })
}

/// Every `renamed_from` of the file with its place.
#[derive(Default)]
pub(super) struct Renames(Vec<(TriggerName, TriggerName, Range<usize>)>);

impl Renames {
    /// Keeps what the section says, to be checked when all triggers are known.
    pub(super) fn note(&mut self, section: &Section<'_>, name: &TriggerName, trigger: &Trigger) {
        if let (Some(old), Some(found)) = (&trigger.renamed_from, section.get("renamed_from")) {
            self.0.push((old.clone(), name.clone(), found.span));
        }
    }

    /// Notes those that cannot be carried out.
    pub(super) fn check(self, reader: &mut Reader<'_>, triggers: &BTreeMap<TriggerName, Trigger>) {
        let mut seen: BTreeMap<TriggerName, TriggerName> = BTreeMap::new();
        for (old, name, span) in self.0 {
            let conflict = if triggers.contains_key(&old) {
                Some(Conflict::RenamedFromPresent(old.to_string()))
            } else {
                seen.get(&old)
                    .map(|other| Conflict::RenamedTwice { old: old.to_string(), other: other.to_string() })
            };
            if let Some(conflict) = conflict {
                reader.note(Problem::Conflict { key: "renamed_from".to_owned(), conflict }, &span);
            }
            seen.entry(old).or_insert(name);
        }
    }
}

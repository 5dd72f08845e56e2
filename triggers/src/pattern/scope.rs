//! `$or` multiplied out: a pattern with it is several patterns, of which one must match.

/// Fields that must all match, and choices of which each must have one that matches.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Numbers of fields.
    pub(super) fields: Vec<usize>,
    pub(super) choices: Vec<Vec<Self>>,
}

impl Scope {
    /// How many alternatives it has.
    pub(super) fn count(&self) -> usize {
        let of_choice = |choice: &Vec<Self>| choice.iter().map(Self::count).fold(0, usize::saturating_add);
        self.choices.iter().map(of_choice).fold(1, usize::saturating_mul)
    }

    /// The fields of each alternative, ascending. To be called only where [`Self::count`] is within the limit.
    pub(super) fn alternatives(&self) -> Vec<Vec<usize>> {
        let mut alternatives = vec![self.fields.clone()];
        for choice in &self.choices {
            let branches: Vec<Vec<usize>> = choice.iter().flat_map(Self::alternatives).collect();
            alternatives = alternatives
                .iter()
                .flat_map(|fields| branches.iter().map(|branch| [&fields[..], branch].concat()))
                .collect();
        }
        for fields in &mut alternatives {
            fields.sort_unstable();
        }
        alternatives
    }
}

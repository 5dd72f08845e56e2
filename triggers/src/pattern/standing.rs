//! How one field of a pattern stands when it is looked at alone.

use super::facts::{Facts, NONE};
use super::leaf::Leaf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It cannot be satisfied.
    Fails,
    /// It is satisfied whatever list elements are chosen.
    Holds,
    /// It depends on the element that is chosen, which gives or takes the value that it needs.
    Depends,
}

pub(super) fn standing(leaf: &Leaf, facts: &Facts, bytes: &[u8]) -> Standing {
    let (mut is_outside, mut is_inside, mut accepted_inside) = (false, false, false);
    for found in facts.at(leaf.path) {
        let accepted = leaf.accepts(facts.value(found.value, bytes));
        if found.element == NONE {
            if accepted {
                return Standing::Holds;
            }
            is_outside = true;
        } else {
            is_inside = true;
            accepted_inside |= accepted;
        }
    }
    match leaf.may_be_absent {
        _ if accepted_inside => Standing::Depends,
        true if !is_outside && !is_inside => Standing::Holds,
        true if !is_outside => Standing::Depends,
        _ => Standing::Fails,
    }
}

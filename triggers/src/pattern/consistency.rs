//! Array consistency: the values that satisfy one pattern must not stand in different elements of one list.
//!
//! Trying all combinations of values would let an event of a few kilobytes hold a core for minutes. Instead the list
//! elements are walked from the inside out, and for each is kept which fields can be satisfied within it, as masks of
//! which none contains another. One walk costs what the event has of elements, times what the *pattern* has of real choices.
//!
//! Each field has a bit for *a value satisfies it* and, where its absence would do, one for *no value of it is left*. In a
//! list at most one element is chosen, and only for a value that it holds. Values outside the chosen elements do not count
//! as present.

use super::facts::{Facts, NONE};
use super::leaf::Leaf;

/// Bits of values in the lower half, bits of absence in the upper.
const SATISFIED: u128 = u64::MAX as u128;
const ABSENT: u128 = !SATISFIED;

/// Elements and lists whose buffers are kept from event to event.
const KEPT_MAX: usize = 1024;

/// What the walk keeps of an element, and at the end of the event as a whole.
#[derive(Debug, Default)]
struct Summary {
    /// The absence bits of fields that have a value somewhere within.
    present: u128,
    /// What can be had within, none of the masks in another.
    options: Vec<u128>,
    /// The lists directly within, as a chain.
    last_list: usize,
}

/// A list, chained to the others of the same element.
#[derive(Debug, Default)]
struct Choice {
    present: u128,
    /// What its elements can give, none of the masks in another.
    options: Vec<u128>,
    next_list: usize,
    is_linked: bool,
}

/// The buffers of the walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// One for each element, and the last one for the event.
    summaries: Vec<Summary>,
    choices: Vec<Choice>,
    product: Vec<u128>,
    /// For each leaf the bits of which one must be had.
    wanted: Vec<u128>,
}

impl Walk {
    /// Whether all the leaves can be satisfied at once.
    pub(super) fn holds<'l>(
        &mut self,
        leaves: impl Iterator<Item = &'l Leaf>,
        facts: &Facts,
        bytes: &[u8],
    ) -> bool {
        let root = facts.elements.len();
        self.begin(root + 1, facts.lists);
        self.place_values(leaves, facts, bytes);
        for element in (0..root).rev() {
            self.join_lists(element);
            let parent = facts.elements[element].parent;
            let parent = if parent == NONE { root } else { parent };
            self.offer(element, facts.elements[element].list, parent);
        }
        self.join_lists(root);
        self.summaries[root].options.iter().any(|&mask| self.wanted.iter().all(|&either| mask & either != 0))
    }

    fn begin(&mut self, elements: usize, lists: usize) {
        // What one huge event needed is not kept for ever.
        self.summaries.truncate(elements.max(KEPT_MAX));
        self.choices.truncate(lists.max(KEPT_MAX));
        self.summaries.resize_with(elements.max(self.summaries.len()), Summary::default);
        self.choices.resize_with(lists.max(self.choices.len()), Choice::default);
        for summary in &mut self.summaries[..elements] {
            summary.present = 0;
            summary.options.clear();
            summary.options.push(0);
            summary.last_list = NONE;
        }
        for choice in &mut self.choices[..lists] {
            choice.present = 0;
            choice.options.clear();
            choice.is_linked = false;
        }
    }

    /// Marks what stands directly in each element.
    fn place_values<'l>(&mut self, leaves: impl Iterator<Item = &'l Leaf>, facts: &Facts, bytes: &[u8]) {
        self.wanted.clear();
        let root = facts.elements.len();
        for (bit, leaf) in leaves.enumerate() {
            let satisfied = 1u128 << bit;
            let absent = satisfied << 64;
            self.wanted.push(if leaf.may_be_absent { satisfied | absent } else { satisfied });
            for found in facts.at(leaf.path) {
                let summary = &mut self.summaries[if found.element == NONE { root } else { found.element }];
                summary.present |= absent;
                if leaf.accepts(facts.value(found.value, bytes)) {
                    summary.options[0] |= satisfied;
                }
            }
        }
        for summary in &mut self.summaries[..=root] {
            summary.options[0] |= ABSENT & !summary.present;
        }
    }

    /// Joins what stands in an element with one choice from each list in it.
    fn join_lists(&mut self, element: usize) {
        let summary = &mut self.summaries[element];
        let mut list = summary.last_list;
        while list != NONE {
            let choice = &mut self.choices[list];
            // Choosing none leaves all values of the list in place.
            keep(&mut choice.options, ABSENT & !choice.present);
            self.product.clear();
            for &had in &summary.options {
                for &offered in &choice.options {
                    keep(&mut self.product, ((had | offered) & SATISFIED) | (had & offered & ABSENT));
                }
            }
            std::mem::swap(&mut summary.options, &mut self.product);
            summary.present |= choice.present;
            list = choice.next_list;
        }
    }

    /// Offers what an element can give as a choice of its list.
    fn offer(&mut self, element: usize, list: usize, parent: usize) {
        let choice = &mut self.choices[list];
        if !choice.is_linked {
            choice.is_linked = true;
            choice.next_list = self.summaries[parent].last_list;
            self.summaries[parent].last_list = list;
        }
        let summary = &self.summaries[element];
        choice.present |= summary.present;
        for &mask in summary.options.iter().filter(|&mask| mask & SATISFIED != 0) {
            keep(&mut choice.options, mask);
        }
    }
}

/// Adds a mask unless another holds all of it, and drops those that it holds.
fn keep(masks: &mut Vec<u128>, mask: u128) {
    if masks.iter().any(|&kept| kept & mask == mask) {
        return;
    }
    masks.retain(|&kept| kept & mask != kept);
    masks.push(mask);
}

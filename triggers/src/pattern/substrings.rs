//! Many texts looked for in one walk over a value, as Aho and Corasick do it.
//!
//! The same structure measures wildcards: how many of the texts' beginnings can be under way at once.

use std::collections::VecDeque;

/// A place in the tree of the texts' beginnings; the first is the empty one.
#[derive(Debug, Default)]
struct Place {
    /// Sorted by byte.
    next: Vec<(u8, usize)>,
    /// The longest proper end of this beginning that is a beginning too.
    shorter: usize,
    /// The nearest such end where a text is complete.
    complete: Option<usize>,
    /// The number of the text that is complete here.
    text: Option<usize>,
    /// How many texts begin so.
    texts: usize,
}

impl Place {
    fn next(&self, byte: u8) -> Option<usize> {
        self.next.binary_search_by_key(&byte, |&(byte, _)| byte).ok().map(|at| self.next[at].1)
    }
}

/// Texts, none of them empty, and what hangs at each.
#[derive(Debug)]
pub(super) struct Substrings {
    places: Vec<Place>,
    /// For each text that there is, what hangs at it.
    goals: Vec<Vec<usize>>,
}

impl Substrings {
    pub(super) fn new<'a>(texts: impl Iterator<Item = (&'a [u8], usize)>) -> Self {
        let mut substrings = Self { places: vec![Place::default()], goals: Vec::new() };
        for (text, goal) in texts {
            let end = substrings.add(text);
            let Self { places, goals } = &mut substrings;
            let text = *places[end].text.get_or_insert_with(|| {
                goals.push(Vec::new());
                goals.len() - 1
            });
            goals[text].push(goal);
        }
        substrings.link();
        substrings
    }

    fn add(&mut self, text: &[u8]) -> usize {
        let mut at = 0;
        for &byte in text {
            let fresh = self.places.len();
            let next = &mut self.places[at].next;
            at = match next.binary_search_by_key(&byte, |&(byte, _)| byte) {
                Ok(known) => next[known].1,
                Err(slot) => {
                    next.insert(slot, (byte, fresh));
                    self.places.push(Place::default());
                    fresh
                }
            };
            self.places[at].texts += 1;
        }
        at
    }

    /// Breadth first, so that shorter beginnings are linked before longer ones.
    fn link(&mut self) {
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            for (byte, child) in self.places[at].next.clone() {
                let shorter = if at == 0 { 0 } else { self.step(self.places[at].shorter, byte) };
                let place = &self.places[shorter];
                let complete = if place.text.is_some() { Some(shorter) } else { place.complete };
                (self.places[child].shorter, self.places[child].complete) = (shorter, complete);
                queue.push_back(child);
            }
        }
    }

    fn step(&self, mut at: usize, byte: u8) -> usize {
        loop {
            if let Some(next) = self.places[at].next(byte) {
                return next;
            }
            if at == 0 {
                return 0;
            }
            at = self.places[at].shorter;
        }
    }

    /// Calls `each` with what hangs at every text that stands in the value.
    pub(super) fn find(&self, value: &[u8], mut each: impl FnMut(usize)) {
        let mut at = 0;
        // One bit for each text that was found: a value may have it many times.
        let mut found: Vec<u64> = Vec::new();
        for &byte in value {
            at = self.step(at, byte);
            let mut complete = Some(at);
            while let Some(place) = complete.map(|place| &self.places[place]) {
                if let Some(text) = place.text {
                    found.resize(self.goals.len().div_ceil(64), 0);
                    let (word, bit) = (&mut found[text / 64], 1 << (text % 64));
                    if *word & bit != 0 {
                        // So were all that end here and are shorter.
                        break;
                    }
                    *word |= bit;
                    self.goals[text].iter().for_each(|&goal| each(goal));
                }
                complete = place.complete;
            }
        }
    }

    /// How many beginnings of the texts, equal ones of different texts counted each, one value can end with.
    pub(super) fn most_at_once(&self) -> usize {
        // Each place's shorter one is nearer to the root, so breadth first they come in order.
        let mut ends = vec![0; self.places.len()];
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            let place = &self.places[at];
            ends[at] = place.texts + if at == 0 { 0 } else { ends[place.shorter] };
            queue.extend(place.next.iter().map(|&(_, child)| child));
        }
        ends.into_iter().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[&str], value: &str) -> Vec<usize> {
        let texts = texts.iter().enumerate().map(|(goal, text)| (text.as_bytes(), goal));
        let mut found = Vec::new();
        Substrings::new(texts).find(value.as_bytes(), |goal| found.push(goal));
        found.sort_unstable();
        found
    }

    #[test]
    fn every_text_that_stands_in_a_value_is_found() {
        let texts = ["he", "she", "his", "hers", "e", "he"];
        assert_eq!(found(&texts, "ushers"), [0, 1, 3, 4, 5]);
        assert_eq!(found(&texts, "his"), [2]);
        assert_eq!(found(&texts, "hehehis"), [0, 2, 4, 5], "each once");
        assert!(found(&texts, "xyz").is_empty());
        assert_eq!(found(&["aab", "ab", "b"], "aaab"), [0, 1, 2]);
    }

    #[test]
    fn the_most_beginnings_at_once_are_counted_with_repeats() {
        let most =
            |texts: &[&str]| Substrings::new(texts.iter().map(|text| (text.as_bytes(), 0))).most_at_once();
        assert_eq!(most(&[]), 0);
        assert_eq!(most(&["abc"]), 1);
        assert_eq!(most(&["aaaa"]), 4);
        assert_eq!(most(&[":", ":", ":x"]), 3);
    }
}

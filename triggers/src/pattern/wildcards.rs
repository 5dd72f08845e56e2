//! Many wildcards asked at once: few of them are tried, namely those whose longest fixed part stands in the value.

use super::affixes::Affixes;
use super::substrings::Substrings;
use super::wildcard::Wildcard;

/// Wildcards and what each leads to.
#[derive(Debug, Default)]
pub(super) struct Wildcards {
    entries: Vec<(Wildcard, usize)>,
    /// The entries that begin, or else end, with the same text.
    groups: Vec<Vec<usize>>,
    by_first: Affixes,
    by_last: Affixes,
    /// Those of which a part between stars is longer than both, by the longest such part.
    by_middle: Option<Substrings>,
    /// Those that are nothing but a star.
    bare: Vec<usize>,
}

impl Wildcards {
    pub(super) fn insert(&mut self, wildcard: Wildcard, goal: usize) {
        self.entries.push((wildcard, goal));
    }

    /// Must come after the last `insert`.
    pub(super) fn finish(&mut self) {
        let Self { entries, groups, by_first, by_last, bare, .. } = self;
        let mut middles = Vec::new();
        for (at, (wildcard, _)) in entries.iter().enumerate() {
            let (first, last) = (&*wildcard.first, &*wildcard.last);
            let middle = wildcard.longest().unwrap_or_default();
            // The longer a part is, the fewer values have it.
            let (affixes, affix) = match first.len().max(last.len()) {
                longest if longest < middle.len() => {
                    middles.push((middle, at));
                    continue;
                }
                0 => {
                    bare.push(at);
                    continue;
                }
                longest if longest == first.len() => (&mut *by_first, first),
                _ => (&mut *by_last, last),
            };
            let group = affixes.get(affix).unwrap_or_else(|| {
                groups.push(Vec::new());
                affixes.insert(affix, groups.len() - 1);
                groups.len() - 1
            });
            groups[group].push(at);
        }
        self.by_middle = (!middles.is_empty()).then(|| Substrings::new(middles.into_iter()));
    }

    pub(super) fn find(&self, text: &[u8], each: &mut impl FnMut(usize)) {
        if self.entries.is_empty() {
            return;
        }
        let mut attempt = |at: usize| {
            let (wildcard, goal) = &self.entries[at];
            if wildcard.matches(text) {
                each(*goal);
            }
        };
        self.bare.iter().for_each(|&at| attempt(at));
        if let Some(middles) = &self.by_middle {
            middles.find(text, &mut attempt);
        }
        let mut attempt_all = |group: usize| self.groups[group].iter().for_each(|&at| attempt(at));
        self.by_first.find_beginnings(text, &mut attempt_all);
        self.by_last.find_ends(text, &mut attempt_all);
    }
}

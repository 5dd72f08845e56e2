//! What survives a power cut is a row of yes and no: drawn from a seed, or gone through one by one where there are few.

/// Answers which change survives.
#[derive(Debug)]
pub(super) enum Decisions {
    /// Every row of answers, one after the other.
    Each {
        answers: Vec<bool>,
        at: usize,
    },
    Drawn(Dice),
}

/// Random numbers from a seed (splitmix64): the same cut for the same seed, with no dependency.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    state: u64,
    /// Of so many changes one is lost, in this draw.
    bias: Bias,
}

/// Most disks lose nearly nothing or nearly everything, so that is drawn more often than by tossing a coin for each.
#[derive(Clone, Copy, Debug)]
enum Bias {
    KeepAll,
    KeepNone,
    LoseOneIn(u64),
    KeepOneIn(u64),
}

impl Decisions {
    pub(super) fn each() -> Self {
        Self::Each { answers: Vec::new(), at: 0 }
    }

    pub(super) fn drawn(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        dice.bias = match dice.next() % 8 {
            0 => Bias::KeepAll,
            1 => Bias::KeepNone,
            2 => Bias::LoseOneIn(16),
            3 => Bias::KeepOneIn(16),
            _ => Bias::LoseOneIn(2),
        };
        Self::Drawn(dice)
    }

    /// Whether the next change survives.
    pub(super) fn keeps(&mut self) -> bool {
        match self {
            Self::Each { answers, at } => {
                if *at == answers.len() {
                    answers.push(false);
                }
                *at += 1;
                answers[*at - 1]
            }
            Self::Drawn(dice) => match dice.bias {
                Bias::KeepAll => true,
                Bias::KeepNone => false,
                Bias::LoseOneIn(chances) => !dice.next().is_multiple_of(chances),
                Bias::KeepOneIn(chances) => dice.next().is_multiple_of(chances),
            },
        }
    }

    /// Goes to the next row of answers; `false` behind the last one. Rows that are drawn have no next one.
    pub(super) fn advance(&mut self) -> bool {
        let Self::Each { answers, at } = self else { return false };
        answers.truncate(*at);
        *at = 0;
        while let Some(last) = answers.pop() {
            if !last {
                answers.push(true);
                return true;
            }
        }
        false
    }
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x6a09_e667_f3bc_c909, bias: Bias::LoseOneIn(2) }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_answers_comes_once() {
        let mut decisions = Decisions::each();
        let mut rows = Vec::new();
        loop {
            // The third question is asked only where the first answer is yes.
            let first = decisions.keeps();
            let mut row = vec![first, decisions.keeps()];
            if first {
                row.push(decisions.keeps());
            }
            rows.push(row);
            if !decisions.advance() {
                break;
            }
        }
        assert_eq!(rows.len(), 6);
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut decisions = Decisions::drawn(seed);
            (0..64).map(|_| decisions.keeps()).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert!((0..40).any(|seed| draw(seed) != draw(5)));
    }
}

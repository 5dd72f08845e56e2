//! One field of `cron`: its text becomes a set of numbers. What only days know (`L`, `W`, `#`) is read in `days.rs`.

use super::error::{Field, ScheduleError, ScheduleProblem};

/// A piece of the expression and the column where it begins, from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) text: &'t str,
    pub(super) column: usize,
}

impl<'t> Piece<'t> {
    pub(super) fn refuse(self, problem: ScheduleProblem) -> ScheduleError {
        ScheduleError { column: self.column, problem }
    }

    /// What this field does not take.
    pub(super) fn no_item(self, field: Field) -> ScheduleError {
        self.refuse(ScheduleProblem::Item { field, found: self.text.to_owned() })
    }

    /// The pieces between separators.
    pub(super) fn split(self, separator: char) -> impl Iterator<Item = Self> {
        let mut column = self.column;
        self.text.split(separator).map(move |text| {
            let piece = Self { text, column };
            column += text.chars().count() + 1;
            piece
        })
    }

    /// What stands before and behind the first separator.
    pub(super) fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(separator)?;
        let column = self.column + before.chars().count() + 1;
        Some((Self { text: before, ..self }, Self { text: after, column }))
    }
}

/// A set of numbers below 256: years are counted from the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers([u64; 4]);

impl Numbers {
    pub(super) fn insert(&mut self, number: u16) {
        self.0[usize::from(number / 64)] |= 1 << (number % 64);
    }

    /// The least member that is at least `from`.
    pub(super) fn next(&self, from: u16) -> Option<u16> {
        let first = usize::from(from / 64);
        let masked =
            |word: usize| if word == first { self.0[word] & (u64::MAX << (from % 64)) } else { self.0[word] };
        let word = (first..self.0.len()).find(|&word| masked(word) != 0)?;
        u16::try_from(word * 64).ok().map(|base| base + masked(word).trailing_zeros() as u16)
    }

    /// The members below 32 as bits.
    pub(super) const fn low_bits(&self) -> u32 {
        (self.0[0] & 0xffff_ffff) as u32
    }
}

/// Reads a field that has nothing but numbers in it.
pub(super) fn numbers(field: Field, whole: Piece<'_>) -> Result<Numbers, ScheduleError> {
    let mut numbers = Numbers::default();
    for item in whole.split(',') {
        add_item(field, item, &mut numbers)?;
    }
    Ok(numbers)
}

/// Adds `*`, a number, a range, or one of them with a step. Numbers are counted from 0 where the field is one of years.
pub(super) fn add_item(field: Field, item: Piece<'_>, numbers: &mut Numbers) -> Result<(), ScheduleError> {
    let (least, most) = field.bounds();
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(read_step(field, step)?)),
        None => (item, None),
    };
    let (first, last) = if range.text == "*" {
        (least, most)
    } else if let Some((first, last)) = range.split_once('-') {
        (value(field, first)?, value(field, last)?)
    } else {
        let first = value(field, range)?;
        // With a step a number is where it begins.
        (first, if step.is_some() { most } else { first })
    };
    if last < first && !field.wraps() {
        return Err(range.refuse(ScheduleProblem::Backwards { field, found: range.text.to_owned() }));
    }
    let size = most - least + 1;
    let length = if last < first { last + size - first } else { last - first };
    for distance in (0..=length).step_by(usize::from(step.unwrap_or(1))) {
        let number = least + (first - least + distance) % size;
        numbers.insert(if field == Field::Year { number - least } else { number });
    }
    Ok(())
}

/// A number or a name of the field.
pub(super) fn value(field: Field, piece: Piece<'_>) -> Result<u16, ScheduleError> {
    let (least, most) = field.bounds();
    if let Some(at) = field.names().iter().position(|name| name.eq_ignore_ascii_case(piece.text)) {
        return u16::try_from(at).map(|at| least + at).map_err(|_| piece.no_item(field));
    }
    if piece.text.is_empty() || !piece.text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(piece.no_item(field));
    }
    match piece.text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(piece.refuse(ScheduleProblem::Range { field, found: piece.text.to_owned() })),
    }
}

fn read_step(field: Field, piece: Piece<'_>) -> Result<u16, ScheduleError> {
    let (least, most) = field.bounds();
    let most = most - least + 1;
    let is_number = !piece.text.is_empty() && piece.text.bytes().all(|byte| byte.is_ascii_digit());
    match piece.text.parse() {
        Ok(step) if is_number && (1..=most).contains(&step) => Ok(step),
        _ => Err(piece.refuse(ScheduleProblem::Step { field, found: piece.text.to_owned(), most })),
    }
}

//! Text without its case, beyond ASCII: `ß` is `SS`, the Kelvin sign is `k`, `ς` is `σ`.
//!
//! Each character is turned to lower, upper and lower case again, which is Unicode's full case folding but for a few
//! characters. The dotless `ı` stays itself: only Turkish takes it for an `i`. Prefixes and suffixes are those of the folded
//! text, so `ß` begins with `S`.

/// Text up to here is folded without an allocation, if it is ASCII.
const SHORT_BYTES: usize = 256;

/// A pattern's text, folded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Folded(Box<[u8]>);

impl Folded {
    pub(super) fn new(text: &str) -> Self {
        folded(text.as_bytes(), |bytes| Self(bytes.into()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn equals(&self, text: &[u8]) -> bool {
        folded(text, |text| *text == *self.0)
    }

    pub(super) fn begins(&self, text: &[u8]) -> bool {
        folded(text, |text| text.starts_with(&self.0))
    }

    pub(super) fn ends(&self, text: &[u8]) -> bool {
        folded(text, |text| text.ends_with(&self.0))
    }
}

/// Hands the folded text over. Bytes that are no UTF-8 stay as they are.
pub(super) fn folded<T>(text: &[u8], take: impl FnOnce(&[u8]) -> T) -> T {
    if text.len() <= SHORT_BYTES && text.is_ascii() {
        let mut short = [0; SHORT_BYTES];
        let short = &mut short[..text.len()];
        short.copy_from_slice(text);
        short.make_ascii_lowercase();
        return take(short);
    }
    let mut long = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|character| fold(character, &mut long));
        long.extend_from_slice(chunk.invalid());
    }
    take(&long)
}

fn fold(character: char, to: &mut Vec<u8>) {
    let mut push = |character: char| to.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    if character.is_ascii() {
        return push(character.to_ascii_lowercase());
    }
    if character == 'ı' {
        return push(character);
    }
    character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase).for_each(push);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_differ_only_in_case_are_the_same() {
        for (left, right) in [
            ("Straße", "STRASSE"),
            ("STRAẞE", "strasse"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("\u{212a}elvin", "KELVIN"),
            ("\u{212b}", "å"),
            ("Ⱥ", "ⱥ"),
            ("ÉCOLE", "école"),
            ("ﬁ", "FI"),
            ("", ""),
        ] {
            assert_eq!(Folded::new(left), Folded::new(right), "{left} {right}");
            assert!(Folded::new(left).equals(right.as_bytes()), "{left} {right}");
        }
        for (left, right) in [("e", "é"), ("ı", "I"), ("s", "ß"), ("a", "")] {
            assert_ne!(Folded::new(left), Folded::new(right), "{left} {right}");
        }
    }

    #[test]
    fn long_text_and_bytes_that_are_no_text_fold_too() {
        let long = "Ab".repeat(SHORT_BYTES);
        assert!(Folded::new(&long).equals(long.to_uppercase().as_bytes()));
        assert!(Folded::new("a").begins(b"A\xed\xa0\x80B") && Folded::new("b").ends(b"A\xed\xa0\x80B"));
    }
}

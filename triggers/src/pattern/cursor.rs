//! Reading JSON text a token at a time, without building anything.
//!
//! It accepts exactly RFC 8259 and looks at every byte once. It does not check UTF-8: the caller does so for the whole
//! text at once, which is faster. After an error [`Cursor::at`] stands where the text went wrong.

/// Objects and lists may nest this deep, as in `serde_json`: deep enough for every honest event, and no recursion over it
/// comes near the end of a stack.
pub(crate) const DEPTH_MAX: usize = 128;

/// What is said of a value that nests deeper.
pub(crate) const TOO_DEEP: Mistake = "it nests deeper than 128 levels";

/// What did not fit the grammar.
pub(crate) type Mistake = &'static str;

/// A string's bytes between its quotes, still escaped.
#[derive(Clone, Copy)]
pub(crate) struct RawText {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// A place in JSON text.
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The next byte that is no white space, without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.peek_behind_space(),
        }
    }

    fn peek_behind_space(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `wanted` if it comes next.
    #[inline]
    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Mistake> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err("text after the end of the value"),
        }
    }

    /// Takes a member's name and its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<RawText, Mistake> {
        if self.peek() != Some(b'"') {
            return Err("a member's name in quotes must come here");
        }
        let key = self.text()?;
        if self.take(b':') { Ok(key) } else { Err("a colon must follow a member's name") }
    }

    /// Takes a string, standing at its opening quote.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<RawText, Mistake> {
        let start = self.at + 1;
        // Most names and many values end within one word.
        if let Some(word) = self.bytes.get(start..).and_then(<[u8]>::first_chunk)
            && let Some(stop) = first_stop(*word)
            && word.get(stop) == Some(&b'"')
        {
            self.at = start + stop + 1;
            return Ok(RawText { start, end: start + stop, escaped: false });
        }
        self.long_text(start)
    }

    /// Takes what is left of any string, standing at its opening quote.
    #[inline(never)]
    fn long_text(&mut self, start: usize) -> Result<RawText, Mistake> {
        let mut escaped = false;
        self.at = start;
        loop {
            self.skip_plain();
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(RawText { start, end: self.at - 1, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err("a control character must be escaped in a string"),
                None => return Err("the text ends inside a string"),
            }
        }
    }

    /// Runs over the bytes of a string that mean themselves.
    #[inline]
    fn skip_plain(&mut self) {
        let mut rest = self.bytes.get(self.at..).unwrap_or_default();
        // Most strings end within the first words, and long ones are worth wider steps only behind them.
        for _ in 0..WORDS_FIRST {
            let Some((word, behind)) = rest.split_first_chunk() else { break };
            if let Some(stop) = first_stop(*word) {
                self.at = self.bytes.len() - rest.len() + stop;
                return;
            }
            rest = behind;
        }
        while let Some((block, behind)) = rest.split_first_chunk()
            && !has_stop(block)
        {
            rest = behind;
        }
        while let Some((word, behind)) = rest.split_first_chunk() {
            if let Some(stop) = first_stop(*word) {
                self.at = self.bytes.len() - rest.len() + stop;
                return;
            }
            rest = behind;
        }
        let stop = rest.iter().position(|&byte| is_stop(byte)).unwrap_or(rest.len());
        self.at = self.bytes.len() - rest.len() + stop;
    }

    fn escape(&mut self) -> Result<(), Mistake> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err("four hexadecimal digits must follow \\u");
                }
                self.at += 6;
            }
            _ => return Err("JSON has no such escape"),
        }
        Ok(())
    }

    /// Takes `true`, `false` or `null`.
    pub(crate) fn word(&mut self, word: &'static [u8]) -> Result<(), Mistake> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word) {
            self.at += word.len();
            return Ok(());
        }
        Err("a value must come here")
    }

    /// Takes a number and gives its text.
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Mistake> {
        let start = self.at;
        self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err("a value must come here"),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.bytes[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Mistake> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err("a digit must come here") } else { Ok(()) }
    }

    /// Runs over any value, checking its grammar. `depth` is how deep it stands.
    #[inline]
    pub(crate) fn skip_value(&mut self, depth: usize) -> Result<(), Mistake> {
        match self.peek() {
            Some(b'"') => self.text().map(|_| ()),
            Some(b'{' | b'[') => self.skip_nested(depth),
            _ => self.skip_scalar(),
        }
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), Mistake> {
        // One bit for each open object (1) or list (0), the innermost lowest: DEPTH_MAX of them fit.
        let mut open: u128 = 0;
        let mut inside = 0;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.text()?;
                }
                Some(opening @ (b'{' | b'[')) => {
                    let is_object = opening == b'{';
                    if depth + inside >= DEPTH_MAX {
                        return Err(TOO_DEEP);
                    }
                    self.at += 1;
                    if !self.take(if is_object { b'}' } else { b']' }) {
                        inside += 1;
                        open = (open << 1) | u128::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            loop {
                if inside == 0 {
                    return Ok(());
                }
                let is_object = open & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if is_object => self.at += 1,
                    Some(b']') if !is_object => self.at += 1,
                    _ => return Err("a comma or the closing bracket must come here"),
                }
                open >>= 1;
                inside -= 1;
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Mistake> {
        match self.bytes.get(self.at) {
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(_) => self.number().map(|_| ()),
            None => Err("the text ends where a value must come"),
        }
    }
}

/// Words of a string that are looked at one by one before whole blocks are.
const WORDS_FIRST: usize = 4;

/// What a string is run over in at once: two registers of the smallest vector units.
type Block = [u8; 32];

/// Whether a byte of a string does not stand for itself.
#[inline]
fn is_stop(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Whether any byte of the block stops the string. Has no branch for a byte, so that it compiles to vector code.
#[inline]
fn has_stop(block: &Block) -> bool {
    block.iter().fold(false, |stops, &byte| stops | is_stop(byte))
}

/// The place of the first byte that stops the string.
#[inline]
fn first_stop(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(word);
    let quotes = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
    let escapes = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    let controls = word.wrapping_sub(ONES * 0x20);
    // None of the three has its high bit set, so that this serves all of their differences. Borrows can raise false stops
    // only above the first true one.
    let stops = (quotes | escapes | controls) & !word & HIGHS;
    (stops != 0).then(|| stops.trailing_zeros() as usize / 8)
}

/// Appends what an escaped string means. A surrogate without its half becomes the three bytes that UTF-8 forbids, so that
/// it equals nothing that is text.
pub(crate) fn unescape(raw: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            to.push(byte);
            at += 1;
            continue;
        }
        let plain = match raw.get(at + 1) {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (code, length) = code_point(raw, at);
                push_code(code, to);
                at += length;
                continue;
            }
            Some(&other) => other,
            None => return,
        };
        to.push(plain);
        at += 2;
    }
}

/// The code of the `\u` escape at `at`, joined with a second one where the two are surrogates, and its length.
fn code_point(raw: &[u8], at: usize) -> (u32, usize) {
    let unit = |at: usize| -> Option<u32> {
        let escape = raw.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = unit(at).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = unit(at + 6).filter(|second| (0xdc00..0xe000).contains(second))
    {
        return (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12);
    }
    (first, 6)
}

fn push_code(code: u32, to: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        to.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    let bits = |shift: u32| 0x80 | u8::try_from((code >> shift) & 0x3f).unwrap_or_default();
    to.extend_from_slice(&[0xed, bits(6), bits(0)]);
}

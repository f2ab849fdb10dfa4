//! A position in the text, and the tokens that can be taken from there.

use std::ops::Range;

/// Reads one text from left to right. The position is always between two characters.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// Whether the byte may be part of a label.
pub(crate) fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-')
}

/// Whether the character may stand outside of quotes at all.
pub(crate) fn is_legal(character: char) -> bool {
    u8::try_from(character).is_ok_and(is_label_byte) || " \t'\"(){},!=&|".contains(character)
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The offset in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Skips spaces and tabs, the only blanks of the language.
    pub(crate) fn skip_blanks(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    /// Whether the next character is `byte`, an ASCII one.
    pub(crate) fn is_next(&self, byte: u8) -> bool {
        self.text.as_bytes().get(self.at) == Some(&byte)
    }

    /// Reads `token` if it comes next.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Reads label characters, possibly none.
    pub(crate) fn word(&mut self) -> &'a str {
        self.take_while(is_label_byte)
    }

    /// Reads a quoted string and returns what is between the quotes; `None` if no quote comes next.
    /// An opening quote without its partner is the error, with the span from it to the end.
    pub(crate) fn string(&mut self) -> Result<Option<&'a str>, Range<usize>> {
        let mut characters = self.rest().chars();
        let Some(quote @ ('"' | '\'')) = characters.next() else { return Ok(None) };
        let Some((value, _)) = characters.as_str().split_once(quote) else {
            return Err(self.at..self.text.len());
        };
        self.at += value.len() + 2;
        Ok(Some(value))
    }

    /// The span of whatever comes next, for an error: a word, a quoted string, an operator, one
    /// character, or nothing at the end.
    pub(crate) fn next_span(&self) -> Range<usize> {
        let mut ahead = self.clone();
        let token = !ahead.word().is_empty()
            || matches!(ahead.string(), Ok(Some(_)))
            || ["==", "!=", "&&", "||"].iter().any(|operator| ahead.eat(operator));
        if !token {
            ahead.at += ahead.rest().chars().next().map_or(0, char::len_utf8);
        }
        self.at..ahead.at
    }

    /// Reads ASCII bytes as long as `accept` takes them.
    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !accept(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }
}

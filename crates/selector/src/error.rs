//! Parse errors: what was wrong, and where.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use crate::excerpt::{excerpt, printable};
use crate::{MAX_LABEL, MAX_NESTING, hint};

/// How much of the offending text the one-line message repeats, in characters.
const MAX_FOUND: usize = 24;

/// Why a text is not a selector, and which part of it is to blame.
///
/// `Display` is one line; [`ParseError::render`] shows the text with carets under the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    kind: ParseErrorKind,
    span: Range<usize>,
    text: Box<str>,
}

/// What is wrong with a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// Something else stands where this was expected, or the text ends there.
    Expected(Expected),
    /// The character can stand only inside of quotes.
    IllegalCharacter(char),
    /// A quoted string without its closing quote.
    UnterminatedString,
    /// A `(` that is never closed.
    UnclosedGroup,
    /// A `)` that closes nothing.
    UnmatchedClose,
    /// A label of more than [`MAX_LABEL`] bytes.
    LabelTooLong,
    /// More than [`MAX_NESTING`] groups inside each other.
    TooDeep,
}

/// What the grammar allows at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A label, a function or a group.
    Operand,
    /// A comparison operator after a label.
    Operator,
    /// The second word of an operator of two.
    Word(&'static str),
    /// A quoted value.
    Value,
    /// The `{` of a set.
    SetOpen,
    /// A quoted member of a set, or its end.
    SetMember,
    /// `,` or the end of a set.
    SetSeparator,
    /// The label inside `has()`.
    Label,
    /// The `)` of a function.
    CallClose,
    /// `&&`, `||` or the end, after an operand outside of parentheses.
    Connective,
    /// `&&`, `||` or `)`, after an operand inside of parentheses.
    ConnectiveOrClose,
}

impl ParseError {
    pub(crate) fn new(kind: ParseErrorKind, span: Range<usize>, text: &str) -> Self {
        Self { kind, span, text: text.into() }
    }

    /// What is wrong.
    pub fn kind(&self) -> ParseErrorKind {
        self.kind
    }

    /// The part of the text to blame, in bytes; empty at the end of the text.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where the span begins, in bytes from the start of the text.
    pub fn offset(&self) -> usize {
        self.span.start
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Advice for the author, to go on a `hint:` line.
    pub fn hint(&self) -> Option<String> {
        hint::hint(self.kind, &self.text, self.span())
    }

    /// The text around the error with carets under it, in two lines without a break at the end:
    ///
    /// ```
    /// let error = tortie_selector::Selector::parse("app = 'web'").unwrap_err();
    /// assert_eq!(error.to_string(), "expected an operator after the label at byte 4, found `=`");
    /// assert_eq!(error.render(), "app = 'web'\n    ^");
    /// assert_eq!(error.hint().unwrap(), "equality is written `==`");
    /// ```
    ///
    /// A long text is cut to the part around the error. Line breaks and other characters that a
    /// terminal would not show are replaced by visible ones.
    pub fn render(&self) -> String {
        let (line, carets) = excerpt(&self.text, self.span());
        format!("{line}\n{carets}")
    }

    /// What stands at the span, shortened, or the words for nothing.
    fn found(&self) -> String {
        let found = self.text.get(self.span()).unwrap_or_default();
        if found.is_empty() {
            return "the end".to_owned();
        }
        let mut shown: String = found.chars().take(MAX_FOUND).map(printable).collect();
        if found.chars().nth(MAX_FOUND).is_some() {
            shown.push('…');
        }
        format!("`{shown}`")
    }
}

impl Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset())?;
        match self.kind {
            ParseErrorKind::Expected(_) => write!(f, ", found {}", self.found()),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(expected) => write!(f, "expected {expected}"),
            Self::IllegalCharacter('\\') => f.write_str("illegal character `\\`"),
            Self::IllegalCharacter(character) => {
                write!(f, "illegal character `{}`", character.escape_debug())
            }
            Self::UnterminatedString => f.write_str("quoted value is not closed"),
            Self::UnclosedGroup => f.write_str("`(` is not closed"),
            Self::UnmatchedClose => f.write_str("`)` without a matching `(`"),
            Self::LabelTooLong => write!(f, "label is longer than {MAX_LABEL} bytes"),
            Self::TooDeep => write!(f, "selector is nested deeper than {MAX_NESTING} levels"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operand => "a label, `has(…)`, `all()`, `global()`, `!` or `(`",
            Self::Operator => "an operator after the label",
            Self::Word(word) => return write!(f, "`{word}`"),
            Self::Value => "a quoted value",
            Self::SetOpen => "`{`",
            Self::SetMember => "a quoted value or `}`",
            Self::SetSeparator => "`,` or `}`",
            Self::Label => "a label",
            Self::CallClose => "`)`",
            Self::Connective => "`&&`, `||` or the end",
            Self::ConnectiveOrClose => "`&&`, `||` or `)`",
        })
    }
}

//! What the author of a wrong selector probably meant.

use std::ops::Range;

use crate::excerpt::printable;
use crate::{Expected, ParseErrorKind};

const BRACES: &str = "a set is written in braces: `{\"x\", \"y\"}`";
const NO_ESCAPES: &str =
    "there are no escapes: a value with `'` in it stands between `\"`, and the reverse";
const DOUBLE_EQUALS: &str = "equality is written `==`";

/// The longest value a hint repeats, in bytes.
const LONGEST_REPEATED: usize = 40;

/// Advice for an error, if there is any to give.
pub(crate) fn hint(kind: ParseErrorKind, text: &str, span: Range<usize>) -> Option<String> {
    let before = text.get(..span.start).unwrap_or_default();
    let found = text.get(span).unwrap_or_default();
    match kind {
        ParseErrorKind::IllegalCharacter(character) => Some(illegal_character(character).into()),
        ParseErrorKind::UnterminatedString => {
            Some("a value ends with the quote it begins with".into())
        }
        ParseErrorKind::Expected(Expected::Operator) => after_label(before, found),
        ParseErrorKind::Expected(Expected::Value | Expected::SetMember) => value(found),
        ParseErrorKind::Expected(Expected::Connective | Expected::ConnectiveOrClose) => {
            Some(after_operand(before, found).into())
        }
        ParseErrorKind::Expected(expected) => other(expected, found).map(Into::into),
        ParseErrorKind::UnclosedGroup
        | ParseErrorKind::UnmatchedClose
        | ParseErrorKind::LabelTooLong
        | ParseErrorKind::TooDeep => None,
    }
}

fn illegal_character(character: char) -> &'static str {
    match character {
        '\n' | '\r' => {
            "line breaks are not blanks: in YAML, use `>-`, which folds lines and drops the last break"
        }
        '“' | '”' | '‘' | '’' | '`' | '«' | '»' => {
            "values stand in straight quotes, `\"` or `'`"
        }
        '<' | '>' => "values are compared as text: `==`, `!=`, `in`, `contains`, `starts with`",
        ':' => DOUBLE_EQUALS,
        '[' | ']' => BRACES,
        '*' | '?' | '~' | '^' | '$' => {
            "there are no patterns: use `contains`, `starts with` or `ends with`"
        }
        '\\' => NO_ESCAPES,
        '#' => "there are no comments",
        other if other.is_whitespace() => "only space and tab separate words",
        other if printable(other) != other => "delete this invisible character",
        _ => "labels are made of ASCII letters, digits, `_`, `.`, `/` and `-`",
    }
}

/// For what follows a label instead of an operator.
fn after_label(before: &str, found: &str) -> Option<String> {
    let label = before.rsplit(|c: char| !is_word(c)).find(|word| !word.is_empty())?;
    let function = matches!(label, "all" | "global" | "has");
    Some(match found.chars().next() {
        Some('(') if function => format!("nothing may stand between `{label}` and its `(`"),
        Some('(') => "the functions are `has(label)`, `all()` and `global()`".into(),
        Some('=') => DOUBLE_EQUALS.into(),
        Some('"' | '\'') => format!("to compare them: `{label} == \"…\"`"),
        Some(_) if label.eq_ignore_ascii_case("not") => "negation is written `!`".into(),
        None | Some(')' | '&' | '|') => format!("to ask whether the label exists: `has({label})`"),
        Some(_) => concat!(
            "the operators are `==`, `!=`, `in`, `not in`, `contains`, `starts with` ",
            "and `ends with`"
        )
        .into(),
    })
}

/// For what stands where a quoted value is wanted.
fn value(found: &str) -> Option<String> {
    match found.chars().next()? {
        '{' => Some("a set is compared with `in` or `not in`".into()),
        '=' => Some(DOUBLE_EQUALS.into()),
        first if !is_word(first) => None,
        _ if found.len() <= LONGEST_REPEATED => Some(format!("values are quoted: `\"{found}\"`")),
        _ => Some("values are quoted".into()),
    }
}

fn other(expected: Expected, found: &str) -> Option<&'static str> {
    let quoted = found.starts_with(['"', '\'']);
    match expected {
        Expected::Operand | Expected::Label if quoted => Some("labels are written without quotes"),
        Expected::CallClose if !found.is_empty() => {
            Some("`has` takes one label; `all` and `global` take none")
        }
        Expected::SetOpen => Some(BRACES),
        Expected::SetSeparator if quoted => Some("members of a set are separated by `,`"),
        Expected::Word("in") => Some("the operator is `not in`; negation is written `!`"),
        _ => None,
    }
}

/// For what follows a complete operand.
fn after_operand(before: &str, found: &str) -> &'static str {
    match found.to_ascii_lowercase().as_str() {
        "&" | "and" | "," => "to require both, write `&&`",
        "|" | "or" => "to require one of both, write `||`",
        "=" | "==" | "!=" | "in" | "not" => "only a label can be compared with a value",
        // No blank in between: the quote was probably meant to be part of the value.
        word if before.ends_with(['"', '\'']) && word.starts_with(is_word) => NO_ESCAPES,
        _ => "operands are joined by `&&` or `||`",
    }
}

fn is_word(character: char) -> bool {
    u8::try_from(character).is_ok_and(crate::cursor::is_label_byte)
}

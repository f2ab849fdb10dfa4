//! One line of a text with carets under a span, for a terminal.

use std::ops::Range;

/// Columns shown on either side of the start of the span; the rest is cut off.
const SIDE: usize = 40;

/// The part of `text` around `span`, and below it the carets, each line ending without a break.
///
/// Whatever would spoil the alignment or drive the terminal is replaced by a visible stand-in.
pub(crate) fn excerpt(text: &str, span: Range<usize>) -> (String, String) {
    let before = text.get(..span.start).unwrap_or_default();
    let marked = text.get(span.clone()).unwrap_or_default();
    let after = text.get(span.end..).unwrap_or_default();

    let left = Clip::new(before.chars().rev(), SIDE);
    let middle = Clip::new(marked.chars(), SIDE);
    let right = Clip::new(after.chars(), SIDE.saturating_sub(middle.columns));

    let mut line = String::from(if left.cut { "…" } else { "" });
    line.extend(left.shown.iter().rev());
    line.extend(middle.shown.iter().chain(&right.shown));
    line.push_str(if middle.cut || right.cut { "…" } else { "" });

    let indent = left.columns + usize::from(left.cut);
    let carets = " ".repeat(indent) + &"^".repeat(middle.columns.max(1));
    (line, carets)
}

/// The start of a sequence of characters, made printable and cut to a width.
struct Clip {
    shown: Vec<char>,
    columns: usize,
    cut: bool,
}

impl Clip {
    fn new(characters: impl Iterator<Item = char>, room: usize) -> Self {
        let mut clip = Self { shown: Vec::new(), columns: 0, cut: false };
        for character in characters.map(printable) {
            let columns = clip.columns + width(character);
            // Characters without a width are counted too, or a pile of them would never end.
            if columns > room || clip.shown.len() >= 2 * room {
                clip.cut = true;
                break;
            }
            clip.shown.push(character);
            clip.columns = columns;
        }
        clip
    }
}

/// A stand-in for what a terminal would act upon, or not show.
pub(crate) fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        '\n' | '\r' => '↵',
        // Format characters: zero-width ones, and those that reorder text.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other if other.is_whitespace() && other != ' ' => '␣',
        other => other,
    }
}

/// How many columns a terminal gives a printable character: the East Asian wide blocks and emoji
/// take two, combining marks none.
fn width(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20f0}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn carets_stand_under_the_span() {
        let long = "x".repeat(100);
        let cases = [
            ("a = b", 2..3, "a = b", "  ^"),
            ("a == b", 5..6, "a == b", "     ^"),
            ("a ==", 4..4, "a ==", "    ^"),
            ("", 0..0, "", "^"),
            ("a\t\tbc", 3..5, "a  bc", "   ^^"),
            ("a\nb", 1..2, "a↵b", " ^"),
            ("é == ü", 6..8, "é == ü", "     ^"),
            ("世界 = x", 7..8, "世界 = x", "     ^"),
            ("e\u{301} = x", 4..5, "e\u{301} = x", "  ^"),
            ("\u{1b}[31m = x", 6..7, "\u{fffd}[31m = x", "      ^"),
            ("a\u{a0}= \u{202e}x", 1..3, "a␣= \u{fffd}x", " ^"),
        ];
        for (text, span, line, carets) in cases {
            assert_eq!(excerpt(text, span), (line.to_owned(), carets.to_owned()), "{text:?}");
        }
        let (line, carets) = excerpt(&format!("{long}!{long}"), 100..101);
        assert_eq!(line, format!("…{}!{}…", "x".repeat(40), "x".repeat(39)));
        assert_eq!(carets, format!("{}^", " ".repeat(41)));
        let (line, carets) = excerpt(&long, 0..100);
        assert_eq!((line, carets), (format!("{}…", "x".repeat(40)), "^".repeat(40)));
    }

    #[test]
    fn a_pile_of_combining_marks_is_cut() {
        let pile = "\u{301}".repeat(10_000);
        let (line, _) = excerpt(&pile, 0..2);
        assert!(line.chars().count() < 200);
    }
}

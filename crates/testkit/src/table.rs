//! Tables of tab-separated cells, one row a line.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// One row, and where it stands, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<const WIDTH: usize> {
    /// File, line number and text.
    pub place: String,
    /// The cells, with escapes resolved.
    pub cells: [String; WIDTH],
}

/// Reads a table. Blank lines and lines starting with `#` are skipped. In a cell `\t`, `\n`, `\r`,
/// `\\` and `\u{…}` stand for characters, and `EMPTY` for no characters.
///
/// # Errors
/// If the file cannot be read, has no rows, or a row has an unknown escape or another number of
/// cells than `WIDTH`.
pub fn read<const WIDTH: usize>(path: &Path) -> anyhow::Result<Vec<Row<WIDTH>>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    let rows = lines.map(|(index, line)| {
        let place = format!("{name}:{}: {line}", index + 1);
        let cells = line.split('\t').map(unescape).collect::<anyhow::Result<Vec<_>>>();
        let cells = cells.with_context(|| place.clone())?;
        match cells.try_into() {
            Ok(cells) => Ok(Row { place, cells }),
            Err(cells) => bail!("{place}: {} cells instead of {WIDTH}", Vec::len(&cells)),
        }
    });
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!rows.is_empty(), "{name} has no rows");
    Ok(rows)
}

fn unescape(cell: &str) -> anyhow::Result<String> {
    if cell == "EMPTY" {
        return Ok(String::new());
    }
    let mut out = String::new();
    let mut rest = cell;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (character, after) = unescape_one(escape)?;
        out.push(character);
        rest = after;
    }
    Ok(out + rest)
}

fn unescape_one(escape: &str) -> anyhow::Result<(char, &str)> {
    if let Some((code, after)) = escape.strip_prefix("u{").and_then(|e| e.split_once('}')) {
        let character = char::from_u32(u32::from_str_radix(code, 16)?);
        return Ok((character.context("no such character")?, after));
    }
    let mut rest = escape.chars();
    let character = match rest.next() {
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('\\') => '\\',
        other => bail!("unknown escape {other:?}"),
    };
    Ok((character, rest.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_unescaped() {
        for (cell, want) in [
            ("a b", "a b"),
            ("EMPTY", ""),
            (r"\t\n\r\\", "\t\n\r\\"),
            (r"\u{0}x\u{20ac}", "\0x\u{20ac}"),
        ] {
            assert_eq!(unescape(cell).unwrap(), want);
        }
        for wrong in [r"\", r"\x", r"\u{", r"\u{zz}", r"\u{110000}"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}

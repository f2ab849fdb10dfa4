//! Tables for people: columns as wide as their widest cell.

use std::fmt::Write as _;

use serde_json::Value;

use super::jsonpath::shown;
use crate::output::harmless;

/// Headings and cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// What is shown of a Table of the server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Choice<'a> {
    /// The columns of lower priority, too.
    pub(crate) wide: bool,
    /// The namespace as first column.
    pub(crate) namespace: bool,
    /// The labels as last column.
    pub(crate) labels: bool,
    /// What to write before names: `kind/`.
    pub(crate) prefix: &'a str,
}

/// Least width of a column with the space behind it, and that space: kubectl's.
const LEAST: usize = 6;
const GAP: usize = 3;

impl Grid {
    /// Chosen columns of a Table of the server.
    pub(crate) fn of(table: &Value, choice: Choice<'_>) -> Grid {
        let list = |value: &Value, field: &str| -> Vec<Value> {
            value.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let definitions = list(table, "columnDefinitions");
        let chosen = |column: &Value| {
            choice.wide || column.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0
        };
        let heading = |column: &Value| text(column, "/name").to_uppercase();
        let mut headings: Vec<String> =
            definitions.iter().filter(|column| chosen(column)).map(heading).collect();
        if choice.namespace {
            headings.insert(0, "NAMESPACE".into());
        }
        if choice.labels {
            headings.push("LABELS".into());
        }
        let row = |row: &Value| {
            let cells = list(row, "cells");
            let cells = cells.iter().zip(&definitions).filter(|(_, column)| chosen(column));
            let mut cells: Vec<String> = cells.map(|(cell, _)| shown(cell)).collect();
            if let Some(name) = cells.first_mut() {
                name.insert_str(0, choice.prefix);
            }
            if choice.namespace {
                cells.insert(0, text(row, "/object/metadata/namespace"));
            }
            if choice.labels {
                cells.push(labels(row.pointer("/object/metadata/labels")));
            }
            cells
        };
        Grid { headings, rows: list(table, "rows").iter().map(row).collect() }
    }

    /// The rows as text, below their headings if these are wanted.
    pub(crate) fn text(&self, headings: bool) -> String {
        self.text_with(headings, &mut Vec::new())
    }

    /// The same, with columns not narrower than before: for rows that come one by one.
    pub(crate) fn text_with(&self, headings: bool, widths: &mut Vec<usize>) -> String {
        let lines = headings.then_some(&self.headings).into_iter().chain(&self.rows);
        let cell = |cell: &String| harmless(cell).replace('\n', "\\n");
        let lines: Vec<Vec<String>> = lines.map(|line| line.iter().map(cell).collect()).collect();
        for line in &lines {
            for (column, cell) in line.iter().enumerate() {
                let width = (cell.chars().count() + GAP).max(LEAST);
                match widths.get_mut(column) {
                    Some(known) => *known = width.max(*known),
                    None => widths.push(width),
                }
            }
        }
        let mut text = String::new();
        for line in &lines {
            let last = line.len().saturating_sub(1);
            for (column, (cell, width)) in line.iter().zip(widths.iter()).enumerate() {
                let width = if column == last { 0 } else { *width };
                let _ = write!(text, "{cell:width$}");
            }
            text.push('\n');
        }
        text
    }
}

fn text(row: &Value, pointer: &str) -> String {
    row.pointer(pointer).map(shown).unwrap_or_default()
}

/// Labels as `k=v,…`.
pub(crate) fn labels(labels: Option<&Value>) -> String {
    match labels.and_then(Value::as_object) {
        Some(labels) if !labels.is_empty() => {
            let pairs: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect();
            pairs.join(",")
        }
        _ => "<none>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_are_as_wide_as_their_cells() {
        let table = json!({
            "columnDefinitions": [
                {"name": "Name", "priority": 0}, {"name": "Order", "priority": 0}, {"name": "Node", "priority": 1}],
            "rows": [
                {"cells": ["a", 5, "n1"], "object": {"metadata": {"namespace": "shop", "labels": {"x": "y"}}}},
                {"cells": ["a-long-name", null, "n2"], "object": {"metadata": {"namespace": "default"}}}],
        });
        let plain = Grid::of(&table, Choice::default());
        assert_eq!(plain.text(true), "NAME          ORDER\na             5\na-long-name   \n");
        let all = Choice { wide: true, namespace: true, labels: true, prefix: "pod/" };
        assert_eq!(
            Grid::of(&table, all).text(false),
            "shop      pod/a             5     n1    x=y\n\
             default   pod/a-long-name         n2    <none>\n"
        );
    }

    #[test]
    fn columns_never_become_narrower() {
        let grid = |cell: &str| Grid {
            headings: vec!["A".into(), "B".into()],
            rows: vec![vec![cell.into(), "b".into()]],
        };
        let mut widths = Vec::new();
        assert_eq!(
            grid("long-cell").text_with(true, &mut widths),
            "A           B\nlong-cell   b\n"
        );
        assert_eq!(grid("x").text_with(false, &mut widths), "x           b\n");
        // A cell is one cell, whatever somebody wrote into it.
        assert_eq!(grid("\u{1b}[2J\nx").text(false), "\\u{1b}[2J\\nx   b\n");
    }
}

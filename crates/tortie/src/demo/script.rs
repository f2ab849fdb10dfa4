//! A table of steps: what was done, what was expected, what was observed, how long it took.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::output::text;

/// Widths of the first three columns.
const WIDTHS: [usize; 3] = [58, 26, 26];

/// What a step gave.
pub(crate) type Observed = anyhow::Result<String>;

/// The steps played so far.
#[derive(Default)]
pub(crate) struct Script {
    steps: usize,
    differences: usize,
}

impl Script {
    /// Prints the head of the table.
    pub(crate) fn begin(title: &str) -> Script {
        print(format_args!("{title}\n"));
        print_row(["step", "expected", "observed"], "took");
        print("-".repeat(WIDTHS.iter().sum::<usize>() + 14));
        Script::default()
    }

    /// Prints a line between steps.
    pub(crate) fn chapter(&self, title: &str) {
        print(format_args!("\n{title}"));
    }

    /// Plays one step and compares what it gives. An error is what was observed, then.
    pub(crate) fn step(&mut self, what: &str, expected: &str, play: impl FnOnce() -> Observed) {
        let start = Instant::now();
        let observed = play().unwrap_or_else(|error| format!("error: {error:#}"));
        self.steps += 1;
        let row = format!("{:>2} {what}", self.steps);
        print_row([&row, expected, &observed], &took(start.elapsed()));
        if observed != expected {
            self.differences += 1;
            print("   ^ not as expected");
        }
    }

    /// Prints why something was refused, in Tortie's words.
    pub(crate) fn reason(&self, reason: &str) {
        print(format_args!("   why: {reason}"));
    }

    /// Prints the sum; true if every step went as expected.
    pub(crate) fn end(&self) -> bool {
        let right = self.steps - self.differences;
        print(format_args!("\n{right} of {} steps as expected", self.steps));
        self.differences == 0
    }
}

fn print_row(columns: [&str; 3], took: &str) {
    let mut line = String::from("  ");
    for (text, width) in columns.iter().zip(WIDTHS) {
        line.push_str(&format!("{text:<width$} "));
    }
    print(format_args!("{line}{took:>8}"));
}

/// Prints a line. The script goes on where nobody reads it: at its end the lab goes.
pub(super) fn print(line: impl Display) {
    let _ = text(format_args!("{line}\n"));
}

fn took(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..10_000 => format!("{ms} ms"),
        ms => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

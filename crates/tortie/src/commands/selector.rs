//! `tortie selector`: canonical form, id and matching.

use clap::Subcommand;
use tortie_selector::Selector;

use crate::output::{Failure, NO, YES, text};

/// Arguments of `tortie selector`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the canonical form of a selector and its id
    #[command(after_help = "Example:\n  tortie selector check \"app in {'a','b'} && !has(x)\"")]
    Check {
        /// The selector
        expression: String,
    },
    /// Say whether a selector matches labels; exit status 0 if so, else 1
    #[command(after_help = "Example:\n  tortie selector match \"app == 'web'\" app=web tier=front")]
    Match {
        /// The selector
        expression: String,
        /// Labels
        #[arg(value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not of the form KEY=VALUE".to_owned()),
    }
}

/// Checks or matches.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::Check { expression } => {
            let selector = parse(expression)?;
            text(format_args!("{}\n{}\n", selector.canonical(), selector.id()))?;
            Ok(YES)
        }
        Command::Match { expression, labels } => {
            let labels: std::collections::BTreeMap<_, _> = labels.iter().cloned().collect();
            let matches = parse(expression)?.matches(&labels);
            text(if matches { "yes\n" } else { "no\n" })?;
            Ok(if matches { YES } else { NO })
        }
    }
}

fn parse(expression: &str) -> Result<Selector, Failure> {
    Selector::parse(expression).map_err(|error| {
        let failure = Failure::invalid(format!("bad selector: {error}\n{}", error.render()));
        match error.hint() {
            Some(hint) => failure.hint(hint.to_string()),
            None => failure,
        }
    })
}

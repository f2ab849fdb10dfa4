//! Calico's label selector language: parse, canonical form, match, static restrictions.
//!
//! A [`Selector`] is a boolean expression over a map of labels:
//!
//! ```
//! use tortie_selector::Selector;
//!
//! let selector: Selector = "app in {'summary', 'customer'} && !has(canary)".parse()?;
//! assert!(selector.matches(&[("app", "summary")]));
//! assert!(!selector.matches(&[("app", "summary"), ("canary", "")]));
//! assert_eq!(selector.canonical(), r#"(app in {"customer", "summary"} && !has(canary))"#);
//! # Ok::<(), tortie_selector::ParseError>(())
//! ```
//!
//! Two selectors are equal when their canonical texts are equal, and the canonical text of every
//! selector parses back to an equal one. Selectors are combined as trees ([`Selector::and`],
//! [`Selector::with_prefix`], [`Selector::rewrite`]), never by editing text, so a quoted value that
//! happens to read `all()` stays a value.
//!
//! The crate does no IO and depends on nothing but a hash function.

mod ast;
mod build;
mod canonical;
mod cursor;
mod error;
mod excerpt;
#[doc(hidden)]
pub mod fuzz;
mod hint;
mod labels;
mod parse;
mod restrict;
mod selector;

pub use ast::Node;
pub use build::BuildError;
pub use error::{Expected, ParseError, ParseErrorKind};
pub use labels::Labels;
pub use restrict::{Restriction, Restrictions};
pub use selector::Selector;

/// How many groups may stand inside each other: written parentheses, and `&&` or `||` chains, which
/// the canonical form puts in parentheses. It bounds every recursion over a selector.
pub const MAX_NESTING: usize = 100;

/// The longest label a selector may name, in bytes.
pub const MAX_LABEL: usize = 512;

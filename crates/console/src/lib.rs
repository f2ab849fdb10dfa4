//! The web console: which policies there are, in the order they are asked, whom they select, and
//! whether they are in force as written.
//!
//! It is a client of the Kubernetes API and nothing more: [`follow`] keeps what the server has,
//! [`board`] is what is shown of it, [`serve`] hands it to browsers, and [`access`] says who may look.
//! It writes nothing anywhere. docs/design/console.md has the contract.

mod access;
mod board;
pub mod cli;
mod code;
mod documents;
mod follow;
mod select;
mod serve;

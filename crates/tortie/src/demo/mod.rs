//! Scripted tutorials: steps with an expectation each, played on a lab.

mod script;
mod tools;
mod yaobank;

pub(crate) use script::Script;
pub(crate) use yaobank::play as yaobank;

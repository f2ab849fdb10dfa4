//! Which selectors match whom, kept current.

mod expression;
mod ids;
mod matcher;
mod store;

pub(crate) use ids::IdSet;
pub(crate) use matcher::{ALL_LABELS, Matcher};
pub(crate) use store::{Holder, Pair, Store};

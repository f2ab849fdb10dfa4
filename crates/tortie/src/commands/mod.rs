//! One module per command: its arguments, and `run`, which gives the exit status.

pub(crate) mod calc;
pub(crate) mod completion;
pub(crate) mod connectivity;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod label;
pub(crate) mod nft;
pub(crate) mod patch;
pub(crate) mod policysync;
pub(crate) mod selector;
pub(crate) mod send;
pub(crate) mod stage;
pub(crate) mod test;
pub(crate) mod up;
pub(crate) mod validate;

//! Policy in the kernel.
//!
//! Everything stands in one table, `inet tortie`, as a [`Ruleset`]: chains of rules, sets and
//! dispatch maps. The ruleset is rendered from the calculation's updates, and a [`Delta`] says what
//! of it changed. A [`Kernel`] takes changes as one batch that comes into force at once or not at
//! all, and says what is there.
//!
//! A packet is asked about in up to two legs for each hook, one for the interface it came from and
//! one for the interface it goes to. Each leg has a base chain of its own: `accept` ends a leg, and
//! the next one still decides; `drop` ends all. So rules need no marks to hand on verdicts.

mod ast;
mod delta;
pub mod interpret;
mod kernel;
mod members;
mod netlink;
pub mod program;
pub mod render;
pub mod text;

pub use ast::{
    Chain, ConnectionState, Element, Family, Hook, HookPoint, InterfaceMatch, Limit, Match, Origin,
    Rule, Ruleset, Set, SetKind, Statement, Subject, Verdict, Way,
};
pub use delta::{Delta, Elements};
pub use kernel::{ApplyError, Counter, Found, FoundChain, FoundRule, FoundSet, Kernel, Op, Place};
pub use members::Members;
#[doc(hidden)]
pub use netlink::fuzz;
pub use netlink::{Event, Events, Netlink};

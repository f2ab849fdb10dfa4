//! Development only: what the tests of several crates share.
//!
//! - [`verdicts`]: the scenarios under `corpus/verdicts`, and a runner that puts them to any
//!   [`Engine`] that gives verdicts; [`Reference`] is the one all others are measured by, and
//!   [`Compiled`] the one that decides in sidecars.
//! - [`validation`]: the tables under `corpus/validation` of documents and their errors.
//! - [`network`]: a node made of network namespaces, and packets that are sent through it.
//! - [`bare`]: bare messages to the kernel, as the floor for benchmarks.
//! - [`cluster`] and [`resources`]: from YAML in a test to what it describes.
//! - [`Property`]: runs a property on random values, with a seed that is printed.
//! - [`scale`]: clusters of a size, for benchmarks.
//! - [`table`]: reads tables of tab-separated cells.
//! - [`world`]: random clusters and traffic, for comparing engines with each other.
//! - [`workspace`]: the packages and edges of this repository, for the layering and licence tests.

pub mod bare;
mod build;
mod compiled;
mod engine;
#[doc(hidden)]
pub mod fuzz;
pub mod network;
mod property;
pub mod scale;
pub mod table;
pub mod validation;
pub mod verdicts;
pub mod workspace;
pub mod world;

pub use build::{cluster, resources};
pub use compiled::Compiled;
pub use engine::{Answer, Engine, Reading, Reference, Session};
pub use property::Property;

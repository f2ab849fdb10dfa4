//! Where resources come from: files today, the Kubernetes API later, as one stream of changes.

pub mod files;
mod watch;
mod yaml;

pub use watch::Watch;

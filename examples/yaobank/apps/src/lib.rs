//! Yao Bank, the small bank of the application layer policy tutorial.
//!
//! A browser asks `customer` for a page, `customer` asks `summary` for the account, `summary`
//! reads it from `database`, an etcd spoken to through its v2 keys API:
//!
//! ```text
//! browser ── GET / ──► customer ── GET /519940 ──► summary ── GET /v2/keys/accounts/519940 ──► etcd
//! ```
//!
//! The programs know nothing of proxies, certificates or policies: who may talk to whom is
//! decided outside of them, which is the point of the example.

pub mod account;
pub mod customer;
pub mod database;
pub mod http;
pub mod page;
pub mod serve;
pub mod summary;

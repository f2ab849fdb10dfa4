//! The etcd that the tests of stores have.

#[path = "../../../store/tests/common/etcd.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server;

pub(crate) use server::{Server, available};

/// Waits, but not for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(crate::world::DEADLINE, what).await.unwrap()
}

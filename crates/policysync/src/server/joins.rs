//! Who listens for which endpoint: the latest takes the place of any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tortie_policy::EndpointId;

/// The places, one for each endpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Joins(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: HashMap<EndpointId, (u64, oneshot::Sender<()>)>,
}

/// A place, which is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    joins: Joins,
    endpoint: EndpointId,
    number: u64,
    /// Ends when somebody else takes the place.
    lost: oneshot::Receiver<()>,
}

impl Joins {
    /// Takes the place of an endpoint.
    pub(super) fn join(&self, endpoint: &EndpointId) -> Seat {
        let (sender, lost) = oneshot::channel();
        let mut places = self.lock();
        places.next += 1;
        let number = places.next;
        places.taken.insert(endpoint.clone(), (number, sender));
        Seat { joins: self.clone(), endpoint: endpoint.clone(), number, lost }
    }

    /// How many places are taken.
    pub(super) fn count(&self) -> usize {
        self.lock().taken.len()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns once somebody else has taken the place.
    pub(super) async fn taken(&mut self) {
        // An error, always: the sender is dropped when another takes its place.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut places = self.joins.lock();
        if places.taken.get(&self.endpoint).is_some_and(|(number, _)| *number == self.number) {
            places.taken.remove(&self.endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_latest_has_the_place() {
        let joins = Joins::default();
        let endpoint = |name: &str| EndpointId { namespace: "n".into(), name: name.into() };
        let mut first = joins.join(&endpoint("a"));
        let _other = joins.join(&endpoint("b"));
        let second = joins.join(&endpoint("a"));
        first.taken().await;
        drop(first); // leaves the second where it is
        assert_eq!(joins.count(), 2);
        drop(second);
        assert_eq!(joins.count(), 1);
    }
}

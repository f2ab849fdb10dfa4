//! The points of compatibility that the cluster's TortieConfiguration chooses, as they are now.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tortie_client::server::{ApiKind, Event, Place, Server};
use tortie_policy::Compat;

use crate::admission::chosen_by;
use crate::cli::Failure;
use crate::object;

/// What reviews heed: the points that are chosen on the command line, and those of the cluster.
pub(super) type Chosen = Arc<ArcSwap<Compat>>;

/// Finds the API server that is to be followed. Nothing is sent to it yet.
pub(super) async fn find(place: &Place) -> Result<Server, Failure> {
    Server::connect(place).await.map_err(Failure::unreachable)
}

/// Follows the cluster's choice for ever, beside what was chosen here. Until it is known, and for what
/// of it is not, reviews are strict; while the server is away the last one counts.
pub(super) async fn follow(server: Server, own: Compat, chosen: Chosen) {
    let mut known: HashMap<String, Compat> = HashMap::new();
    let mut told = server.follow([ApiKind {
        group: "tortie.dev".to_owned(),
        version: "v1".to_owned(),
        kind: "TortieConfiguration".to_owned(),
        plural: "tortieconfigurations".to_owned(),
        namespaced: false,
    }]);
    loop {
        match told.next().await {
            Event::Put { object, .. } => {
                known.insert(object::name(&object).to_owned(), chosen_by(&object));
            }
            Event::Gone { object, .. } => {
                known.remove(object::name(&object));
            }
            Event::Away { reason } => {
                tracing::warn!(reason, "the TortieConfiguration cannot be followed");
                continue;
            }
            _ => continue,
        }
        chosen.store(Arc::new(known.values().copied().fold(own, Compat::union)));
    }
}

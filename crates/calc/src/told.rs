//! What has been told, as far as it takes to tell no more than what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use smol_str::SmolStr;
use tortie_policy::{EndpointId, PolicyId};

use crate::index::Pair;
use crate::policies::Body;
use crate::world::Origin;
use crate::{LocalEndpoint, LocalHost, Settings};

/// What has been told.
#[derive(Default)]
pub(crate) struct Told {
    /// Active policies, with the sets their rules name.
    pub(crate) policies: HashMap<PolicyId, (Body, Box<[u32]>)>,
    /// Active profiles, with where they come from and the sets their rules name.
    pub(crate) profiles: BTreeMap<SmolStr, (Origin, Box<[u32]>)>,
    pub(crate) endpoints: BTreeMap<EndpointId, Arc<LocalEndpoint>>,
    pub(crate) hosts: BTreeMap<SmolStr, Arc<LocalHost>>,
    /// Namespaces and service accounts that came, went or changed since, by the names of their
    /// profiles, with their labels as told.
    pub(crate) families: BTreeMap<SmolStr, Option<Box<[Pair]>>>,
    pub(crate) settings: Option<Arc<Settings>>,
    /// Whether there was a first time.
    pub(crate) started: bool,
}

impl Told {
    /// A namespace or service account is not what it was.
    pub(crate) fn family_changed(&mut self, name: SmolStr, before: Option<Box<[Pair]>>) {
        if self.started {
            self.families.entry(name).or_insert(before);
        }
    }
}

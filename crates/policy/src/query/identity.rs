//! Who one end of a flow is, with what of it could be changed: labels, namespace, service account.

use std::collections::BTreeMap;
use std::net::IpAddr;

use smol_str::SmolStr;

use super::Change;
use crate::labels::{self, METADATA_NAME, NAME, NAMESPACE, ORCHESTRATOR, SERVICE_ACCOUNT};
use crate::{Account, Cluster, Labels, Peers, Side};

/// Labels that would change: to a value, or to be gone.
type Edits = BTreeMap<SmolStr, Option<SmolStr>>;

/// One end as it is, and what would be changed of it.
#[derive(Debug, Clone)]
pub(super) struct Identity<'c> {
    cluster: &'c Cluster,
    kind: Kind,
    /// Labels that nothing but the end itself has.
    own: Labels,
    account: Option<Account>,
    edits: Edits,
    namespace_edits: Edits,
    account_edits: Edits,
}

/// What an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Workload,
    Host,
    /// An address of nobody known, which a network set could hold.
    Stranger(IpAddr),
}

impl<'c> Identity<'c> {
    /// Who uses an address; none if several workloads do, or if it is not known.
    pub(super) fn at(cluster: &'c Cluster, address: Option<IpAddr>) -> Option<Identity<'c>> {
        let address = address?.to_canonical();
        let (kind, own, account) = match (cluster.at(address), cluster.hosts_at(address)) {
            ([one], _) => (Kind::Workload, one.labels.clone(), Some(one.account.clone())),
            ([], [host, ..]) => (Kind::Host, host.labels.clone(), None),
            ([], []) => (Kind::Stranger(address), Labels::new(), None),
            _ => return None,
        };
        let inherited = |key: &str| {
            let generated = [NAMESPACE, SERVICE_ACCOUNT].contains(&key);
            generated || key.starts_with("pcns.") || key.starts_with("pcsa.")
        };
        let mut own = own;
        own.retain(|key, _| kind != Kind::Workload || !inherited(key));
        let (edits, namespace_edits, account_edits) = Default::default();
        Some(Identity { cluster, kind, own, account, edits, namespace_edits, account_edits })
    }

    /// Whether it is a workload.
    pub(super) fn is_workload(&self) -> bool {
        self.kind == Kind::Workload
    }

    /// The labels that selectors would see.
    pub(super) fn labels(&self) -> Labels {
        let mut all = self.own.clone();
        edit(&mut all, &self.edits);
        let Some(account) = &self.account else { return all };
        all.insert(NAMESPACE.into(), account.namespace.clone());
        let mut of_namespace = self.cluster.namespace(&account.namespace).cloned();
        let of_namespace = of_namespace.get_or_insert_with(Labels::new);
        of_namespace.insert(NAME.into(), account.namespace.clone());
        of_namespace.insert(METADATA_NAME.into(), account.namespace.clone());
        edit(of_namespace, &self.namespace_edits);
        labels::inherit(&mut all, "pcns.", of_namespace);
        if !account.name.is_empty() {
            all.insert(SERVICE_ACCOUNT.into(), account.name.clone());
            let mut of_account = self.cluster.account(account).cloned().unwrap_or_default();
            of_account.insert(NAME.into(), account.name.clone());
            edit(&mut of_account, &self.account_edits);
            labels::inherit(&mut all, "pcsa.", &of_account);
        }
        all
    }

    /// Whether the criteria hold for it, with what else holds its address.
    pub(super) fn meets(&self, peers: &Peers, address: Option<IpAddr>) -> bool {
        let own = self.labels();
        let others = self.others(address);
        let nobody = others.is_empty() && self.is_nobody();
        let matches = |selector: &tortie_selector::Selector| {
            !nobody && (selector.matches(&own) && !self.is_nobody())
                || others.iter().any(|labels| selector.matches(*labels))
        };
        peers.included.as_ref().is_none_or(matches) && !peers.excluded.as_ref().is_some_and(matches)
    }

    /// Whether it has no labels, being nobody and in no network set that would be made for it.
    fn is_nobody(&self) -> bool {
        matches!(self.kind, Kind::Stranger(_)) && self.edits.is_empty() && self.account.is_none()
    }

    /// The labels of what holds the address besides it.
    fn others(&self, address: Option<IpAddr>) -> Vec<&'c Labels> {
        let Some(address) = address else { return Vec::new() };
        let hosts = self.cluster.hosts_at(address).iter().map(|host| &host.labels);
        let hosts = hosts.skip(usize::from(self.kind == Kind::Host));
        hosts.chain(self.cluster.sets_with(address).map(|set| &set.labels)).collect()
    }

    /// The same with a label as selectors see it changed; none if nobody can change it.
    pub(super) fn with(&self, key: &str, value: Option<&str>) -> Option<Identity<'c>> {
        let mut other = self.clone();
        let change = value.map(SmolStr::from);
        match key {
            NAMESPACE => other.moved(value?)?,
            SERVICE_ACCOUNT => other.account_mut()?.name = change?,
            ORCHESTRATOR => return None,
            _ => match (key.strip_prefix("pcns."), key.strip_prefix("pcsa.")) {
                (Some(NAME | METADATA_NAME), _) => other.moved(value?)?,
                (_, Some(NAME)) => other.account_mut()?.name = change?,
                (Some(key), _) => {
                    other.account_mut()?;
                    drop(other.namespace_edits.insert(key.into(), change));
                }
                (_, Some(key)) => {
                    other.account_mut()?;
                    drop(other.account_edits.insert(key.into(), change));
                }
                _ if key.starts_with("projectcalico.org/") => return None,
                _ => drop(other.edits.insert(key.into(), change)),
            },
        }
        Some(other)
    }

    /// Moves a workload to another namespace, or the set that would hold a stranger.
    fn moved(&mut self, namespace: &str) -> Option<()> {
        match (self.kind, &mut self.account) {
            (Kind::Host, _) => return None,
            (_, Some(account)) => account.namespace = namespace.into(),
            (_, none) => {
                *none = Some(Account { namespace: namespace.into(), name: SmolStr::default() });
            }
        }
        Some(())
    }

    /// The account of a workload: nothing else has one.
    fn account_mut(&mut self) -> Option<&mut Account> {
        self.account.as_mut().filter(|_| self.kind == Kind::Workload)
    }

    /// Whether it is in another namespace than in another state.
    pub(super) fn is_moved(&self, before: &Identity<'_>) -> bool {
        let namespace = |end: &Identity<'_>| end.account.as_ref().map(|a| a.namespace.clone());
        namespace(self) != namespace(before)
    }

    /// The first namespace there is that is not meant.
    pub(super) fn another_namespace(&self, than: impl Fn(&str) -> bool) -> String {
        let known = self.cluster.endpoints().map(|e| e.id.namespace.as_str());
        known.chain(["other", "another"]).find(|n| !than(n)).unwrap_or("elsewhere").to_owned()
    }

    /// Lets changes of labels that two ends share count for both.
    pub(super) fn share(&mut self, other: &mut Identity<'c>) {
        let (Some(a), Some(b)) = (&self.account, &other.account) else { return };
        if a.namespace == b.namespace {
            share(&mut self.namespace_edits, &mut other.namespace_edits);
        }
        if a == b {
            share(&mut self.account_edits, &mut other.account_edits);
        }
    }

    /// What is different from another state of the same end.
    pub(super) fn changes(&self, before: &Identity<'c>, side: Side) -> Vec<Change> {
        if let Kind::Stranger(address) = self.kind {
            return self.set(side, address).into_iter().collect();
        }
        let mut changes = Vec::new();
        if let (Some(old), Some(new)) = (&before.account, &self.account) {
            if old.namespace != new.namespace {
                changes.push(Change::Namespace { side, name: new.namespace.clone() });
            }
            if old.name != new.name {
                changes.push(Change::Account { side, name: new.name.clone() });
            }
        }
        let entry = |(key, value): (&SmolStr, &Option<SmolStr>)| (key.clone(), value.clone());
        changes.extend(self.edits.iter().map(entry).map(|(key, value)| Change::Label {
            side,
            key,
            value,
        }));
        changes.extend(
            self.namespace_edits.iter().map(entry).map(|(key, value)| Change::NamespaceLabel {
                side,
                key,
                value,
            }),
        );
        changes.extend(
            self.account_edits.iter().map(entry).map(|(key, value)| Change::AccountLabel {
                side,
                key,
                value,
            }),
        );
        changes
    }

    /// The network set that would have to hold a stranger.
    fn set(&self, side: Side, address: IpAddr) -> Option<Change> {
        let present = self.edits.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?)));
        let namespace = self.account.as_ref().map(|a| a.namespace.clone());
        let change = Change::NetworkSet { side, address, namespace, labels: present.collect() };
        (!self.is_nobody()).then_some(change)
    }
}

fn edit(labels: &mut Labels, edits: &Edits) {
    for (key, value) in edits {
        match value {
            Some(value) => drop(labels.insert(key.clone(), value.clone())),
            None => drop(labels.remove(key)),
        }
    }
}

fn share(one: &mut Edits, other: &mut Edits) {
    let all: Edits = one.iter().chain(&*other).map(|(k, v)| (k.clone(), v.clone())).collect();
    one.clone_from(&all);
    *other = all;
}

//! Labels of service accounts and namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::Update;
use tortie_policy::{Account, Labels};
use tortie_proto::felix::{
    NamespaceId, NamespaceRemove, NamespaceUpdate, ServiceAccountId, ServiceAccountRemove,
    ServiceAccountUpdate,
};

use super::WireError;

pub(super) fn account_update(account: &Account, labels: &Labels) -> ServiceAccountUpdate {
    ServiceAccountUpdate { id: Some(account_id(account)), labels: wire_labels(labels) }
}

pub(super) fn account_remove(account: &Account) -> ServiceAccountRemove {
    ServiceAccountRemove { id: Some(account_id(account)) }
}

pub(super) fn namespace_update(name: &SmolStr, labels: &Labels) -> NamespaceUpdate {
    NamespaceUpdate { id: Some(namespace_id(name)), labels: wire_labels(labels) }
}

pub(super) fn namespace_remove(name: &SmolStr) -> NamespaceRemove {
    NamespaceRemove { id: Some(namespace_id(name)) }
}

pub(super) fn account_id(account: &Account) -> ServiceAccountId {
    ServiceAccountId { namespace: account.namespace.to_string(), name: account.name.to_string() }
}

fn namespace_id(name: &SmolStr) -> NamespaceId {
    NamespaceId { name: name.to_string() }
}

fn wire_labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn labels(wire: BTreeMap<String, String>) -> Arc<Labels> {
    Arc::new(wire.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

pub(super) fn account(wire: ServiceAccountId) -> Account {
    Account { namespace: wire.namespace.into(), name: wire.name.into() }
}

fn named_account(
    message: &'static str,
    wire: Option<ServiceAccountId>,
) -> Result<Account, WireError> {
    let wire = wire.ok_or(WireError::missing(message, "id"))?;
    if wire.name.is_empty() || wire.namespace.is_empty() {
        return Err(WireError::missing(message, "id.name or id.namespace"));
    }
    Ok(account(wire))
}

fn named_namespace(message: &'static str, wire: Option<NamespaceId>) -> Result<SmolStr, WireError> {
    let name = wire.map(|id| id.name).filter(|name| !name.is_empty());
    name.map(SmolStr::from).ok_or(WireError::missing(message, "id"))
}

pub(super) fn read_account(wire: ServiceAccountUpdate) -> Result<Update, WireError> {
    let account = named_account("ServiceAccountUpdate", wire.id)?;
    Ok(Update::ServiceAccount(account, labels(wire.labels)))
}

pub(super) fn read_account_remove(wire: ServiceAccountRemove) -> Result<Update, WireError> {
    Ok(Update::ServiceAccountRemove(named_account("ServiceAccountRemove", wire.id)?))
}

pub(super) fn read_namespace(wire: NamespaceUpdate) -> Result<Update, WireError> {
    let name = named_namespace("NamespaceUpdate", wire.id)?;
    Ok(Update::Namespace(name, labels(wire.labels)))
}

pub(super) fn read_namespace_remove(wire: NamespaceRemove) -> Result<Update, WireError> {
    Ok(Update::NamespaceRemove(named_namespace("NamespaceRemove", wire.id)?))
}

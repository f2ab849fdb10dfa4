//! The identity criteria of one end: labels, namespaces and service accounts.

use smol_str::SmolStr;
use tortie_model as model;
use tortie_selector::{Node, Selector};

use super::RuleReader;
use crate::convert::{combine, in_namespaces, is_blank, selector, with_accounts};
use crate::labels::{NAMESPACE, SERVICE_ACCOUNT};
use crate::name::is_dns_subdomain;
use crate::{Accounts, Peers, Scope};

impl RuleReader<'_> {
    /// Selectors, namespaces and service accounts of one side, combined as Calico combines them:
    /// the namespace part is the policy's own namespace unless a namespaceSelector is given, and is
    /// asked only where there is any identity criterion at all.
    pub(super) fn peers(&mut self, field: &str, wire: &model::EntityRule) -> Option<Peers> {
        let accounts_field = format!("{field}.serviceAccounts");
        let names = |n: &'static str| format!("{field}.{n}");
        let selected = selector(&names("selector"), wire.selector.as_deref(), self.report);
        if selected.as_ref().is_some_and(Selector::uses_global) {
            let hint = "write `namespaceSelector: global()` beside the selector";
            self.report.hint(names("selector"), "`global()` is a namespaceSelector", hint);
        }
        let excluded = selector(&names("notSelector"), wire.not_selector.as_deref(), self.report);
        let excluded = excluded.filter(|s| !is_blank(wire.not_selector.as_deref(), s));
        let scope = self.scope(&names("namespaceSelector"), wire);
        let accounts =
            wire.service_accounts.as_ref().and_then(|a| self.accounts(&accounts_field, a));
        let selected = selected.filter(|s| !is_blank(wire.selector.as_deref(), s));
        if selected.is_none() && excluded.is_none() && scope.is_none() && accounts.is_none() {
            return None;
        }
        let scope = scope.or_else(|| self.namespace.cloned().map(Scope::Own));
        let text = describe(wire, scope.as_ref());
        let mut parts = Vec::new();
        parts.extend(scope.as_ref().and_then(|s| self.scope_selector(field, s)));
        parts.extend(selected);
        parts.extend(
            accounts.as_ref().map(|a| self.account_selectors(field, a)).unwrap_or_default(),
        );
        let positive = !parts.is_empty();
        let (included, excluded) = match (positive, excluded) {
            (true, Some(not)) => {
                parts.push(not.not());
                (combine(field, parts, self.report), None)
            }
            (true, None) => (combine(field, parts, self.report), None),
            (false, not) => (None, not),
        };
        Some(Peers { included, excluded, scope, accounts, text })
    }

    fn scope(&mut self, field: &str, wire: &model::EntityRule) -> Option<Scope> {
        let selector = selector(field, wire.namespace_selector.as_deref(), self.report)?;
        if is_blank(wire.namespace_selector.as_deref(), &selector) {
            return None;
        }
        if selector.uses_global() && !matches!(selector.node(), Node::Global) {
            let hint = "write one rule with `global()` and one for the rest";
            self.report.hint(field, "`global()` must stand alone", hint);
        }
        Some(Scope::Selected(selector))
    }

    fn scope_selector(&mut self, field: &str, scope: &Scope) -> Option<Selector> {
        match scope {
            Scope::Own(namespace) => {
                self.report.keep(field, Selector::equals(NAMESPACE, namespace))
            }
            Scope::Selected(selector) => in_namespaces(field, selector, self.report),
        }
    }

    fn accounts(&mut self, field: &str, wire: &model::ServiceAccountMatch) -> Option<Accounts> {
        let names: Vec<SmolStr> = wire.names.iter().flatten().map(SmolStr::from).collect();
        for (index, name) in names.iter().enumerate() {
            if !is_dns_subdomain(name) {
                let reason = format!("`{name}` is not the name of a service account");
                let hint = "write the name alone; `namespaceSelector` says in which namespaces";
                self.report.hint(format!("{field}.names[{index}]"), reason, hint);
            }
        }
        let text = wire.selector.as_deref();
        let selector = selector(&format!("{field}.selector"), text, self.report);
        if selector.as_ref().is_some_and(Selector::uses_global) {
            let reason = "`global()` has no meaning for service accounts";
            let hint = "every service account has a namespace";
            self.report.hint(format!("{field}.selector"), reason, hint);
        }
        let selector = selector.filter(|s| !is_blank(text, s));
        let any = !names.is_empty() || selector.is_some();
        any.then_some(Accounts { names, selector })
    }

    fn account_selectors(&mut self, field: &str, accounts: &Accounts) -> Vec<Selector> {
        let mut parts = Vec::new();
        if !accounts.names.is_empty() {
            let names = accounts.names.iter().map(SmolStr::as_str);
            parts.extend(self.report.keep(field, Selector::is_in(SERVICE_ACCOUNT, names)));
        }
        let selector = accounts.selector.as_ref();
        parts.extend(selector.and_then(|s| with_accounts(field, s, self.report)));
        parts
    }
}

/// The identity criteria of one side in words.
fn describe(wire: &model::EntityRule, scope: Option<&Scope>) -> String {
    let mut parts = Vec::new();
    let mut quoted = |what: &str, text: Option<&str>| {
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            parts.push(format!("{what} `{text}`"));
        }
    };
    let accounts = wire.service_accounts.as_ref();
    let names = accounts.and_then(|a| a.names.as_ref()).map(|names| names.join("`, `"));
    quoted("service account", names.as_deref());
    quoted("service account matching", accounts.and_then(|a| a.selector.as_deref()));
    quoted("labels", wire.selector.as_deref());
    quoted("not labels", wire.not_selector.as_deref());
    match scope {
        Some(Scope::Own(namespace)) => quoted("namespace", Some(namespace)),
        _ => quoted("namespace matching", wire.namespace_selector.as_deref()),
    }
    parts.join(", ")
}

//! Policies, tiers and profiles of `projectcalico.org/v3`.

use smol_str::SmolStr;
use tortie_model::{self as model, FieldError, ObjectMeta};
use tortie_selector::Selector;

use super::rule::RuleReader;
use super::{Report, combine, in_namespaces, is_blank, selector, with_accounts};
use crate::kubernetes;
use crate::labels::{self, NAMESPACE};
use crate::name::{self, LABEL_HINT, is_dns_label, is_dns_subdomain, not_a_label};
use crate::{
    DefaultAction, Direction, Order, Policy, PolicyId, PolicyKind, Profile, Rule, Stage,
    StagedAction, Tier,
};

const ORDER_HINT: &str = "leave it out to come last";

/// Most rules of one direction.
const MAX_RULES: usize = 1024;

/// The directions as types of a policy.
pub(super) const DIRECTIONS: [(&str, Direction); 2] =
    [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];

/// Tiers that exist without being defined, with their fixed order and default action.
pub(crate) const BUILT_IN_TIERS: [(&str, f64, DefaultAction); 3] = [
    ("kube-admin", 1_000.0, DefaultAction::Pass),
    ("default", 1_000_000.0, DefaultAction::Deny),
    ("kube-baseline", 10_000_000.0, DefaultAction::Pass),
];

impl TryFrom<&model::Tier> for Tier {
    type Error = Vec<FieldError>;

    fn try_from(tier: &model::Tier) -> Result<Tier, Vec<FieldError>> {
        let mut report = Report::default();
        let name = &tier.metadata.name;
        if !is_dns_label(name) {
            report.hint("metadata.name", not_a_label(name), LABEL_HINT);
        }
        name::check_texts(&tier.metadata, &mut report.0);
        let order = tier.spec.order.unwrap_or(1_000_000.0);
        let default_action = default_action(tier.spec.default_action.as_deref(), &mut report);
        if let Some((_, fixed, action)) = BUILT_IN_TIERS.iter().find(|(n, ..)| n == name)
            && (order != *fixed || default_action != *action)
        {
            let reason =
                format!("tier `{name}` is built in: order {fixed} and {action:?} are fixed");
            report.hint("spec", reason, "leave the tier out, or use one of your own");
        }
        let order = report
            .keep_or("spec.order", Order::new(Some(order)), ORDER_HINT)
            .unwrap_or(Order::LAST);
        report.finish(Tier { name: name.into(), order, default_action, defined: true })
    }
}

fn default_action(text: Option<&str>, report: &mut Report) -> DefaultAction {
    const WORDS: [(&str, DefaultAction); 2] =
        [("Deny", DefaultAction::Deny), ("Pass", DefaultAction::Pass)];
    let text = text.unwrap_or("Deny");
    report.word("spec.defaultAction", text, &WORDS).unwrap_or(DefaultAction::Deny)
}

/// Conversion of the kinds that share [`model::PolicySpec`].
macro_rules! policies {
    ($($kind:ident,)*) => {
        $(impl TryFrom<&model::$kind> for Policy {
            type Error = Vec<FieldError>;

            fn try_from(policy: &model::$kind) -> Result<Policy, Vec<FieldError>> {
                convert(PolicyKind::$kind, &policy.metadata, &policy.spec)
            }
        })*
    };
}

policies! {
    GlobalNetworkPolicy,
    NetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
}

fn convert(
    kind: PolicyKind,
    metadata: &ObjectMeta,
    spec: &model::PolicySpec,
) -> Result<Policy, Vec<FieldError>> {
    let mut report = Report::default();
    policy_name(kind, &metadata.name, &mut report);
    name::check_texts(metadata, &mut report.0);
    let namespace = match kind.enforced() {
        PolicyKind::NetworkPolicy => {
            name::check_namespace(metadata, &mut report.0);
            Some(kubernetes::namespace_of(metadata))
        }
        _ => None,
    };
    let tier = spec.tier.as_deref().filter(|t| !t.is_empty()).unwrap_or("default");
    if !is_dns_label(tier) {
        report.hint("spec.tier", not_a_label(tier), LABEL_HINT);
    }
    if namespace.is_some() {
        global_only(spec, &mut report);
    }
    hints(spec, &mut report);
    let staged = staged_action(kind, spec.staged_action.as_deref(), &mut report);
    if staged == Some(StagedAction::Delete) {
        nothing_but_tier(spec, &mut report);
    }
    let (governs_ingress, governs_egress) = types(spec, &mut report);
    let order =
        report.keep_or("spec.order", Order::new(spec.order), ORDER_HINT).unwrap_or(Order::LAST);
    let subject = subject(namespace.as_deref(), spec, &mut report);
    let stage = match &namespace {
        None => stage(spec, governs_egress, &mut report),
        Some(_) => Stage::Normal,
    };
    let scope = namespace.as_ref();
    let ingress = rules("spec.ingress", spec.ingress.as_deref(), true, scope, &mut report);
    let egress = rules("spec.egress", spec.egress.as_deref(), false, scope, &mut report);
    report.finish(Policy {
        id: PolicyId { kind, namespace, name: metadata.name.as_str().into() },
        tier: tier.into(),
        order,
        subject,
        governs_ingress,
        governs_egress,
        ingress,
        egress,
        stage,
        staged,
    })
}

fn rules(
    field: &str,
    wire: Option<&[model::Rule]>,
    ingress: bool,
    namespace: Option<&SmolStr>,
    report: &mut Report,
) -> Vec<Rule> {
    let wire = wire.unwrap_or_default();
    report.too_many(field, wire.len(), MAX_RULES);
    let mut reader = RuleReader { report, namespace, ingress };
    let rules = wire.iter().enumerate();
    rules
        .map(|(index, rule)| Rule {
            origin: index,
            ..reader.rule(&format!("{field}[{index}]"), rule)
        })
        .collect()
}

impl TryFrom<&model::Profile> for Profile {
    type Error = Vec<FieldError>;

    fn try_from(profile: &model::Profile) -> Result<Profile, Vec<FieldError>> {
        let mut report = Report::default();
        let spec = &profile.spec;
        let ingress = rules("spec.ingress", spec.ingress.as_deref(), true, None, &mut report);
        let egress = rules("spec.egress", spec.egress.as_deref(), false, None, &mut report);
        let name = profile.metadata.name.as_str();
        if ["kns.", "ksa."].iter().any(|prefix| name.starts_with(prefix)) {
            let reason = format!("`{name}` is the name of a generated profile");
            report.hint(
                "metadata.name",
                reason,
                "describe the Namespace or ServiceAccount instead",
            );
        }
        name::check_names(&profile.metadata, &mut report.0);
        name::check_labels("spec.labelsToApply", &spec.labels_to_apply, &mut report.0);
        let mut reserved = Vec::new();
        let labels = labels::from_wire(&spec.labels_to_apply, &mut reserved);
        report.0.extend(reserved.into_iter().map(|mut error: FieldError| {
            error.field = "spec.labelsToApply".into();
            error
        }));
        report.finish(Profile { name: name.into(), labels, ingress, egress })
    }
}

/// One or two DNS labels joined by a dot (the first may be a tier's name of older manifests), or,
/// in a namespace, the `knp.default.` and `ossg.default.` forms that older tools list.
fn policy_name(kind: PolicyKind, name: &str, report: &mut Report) {
    let generated = ["knp.default.", "ossg.default."].iter().find_map(|p| name.strip_prefix(p));
    let generated = generated.filter(|_| kind.enforced() == PolicyKind::NetworkPolicy);
    let simple = name.split('.').count() <= 2;
    let fits = is_dns_subdomain(generated.unwrap_or(name)) && (simple || generated.is_some());
    if name.len() > 253 || !fits {
        report.hint(
            "metadata.name",
            format!("`{name}` is not one or two DNS labels joined by a dot"),
            "use lower-case letters, digits and `-`",
        );
    }
}

/// What staging means; nothing for an enforced kind.
pub(super) fn staged_action(
    kind: PolicyKind,
    text: Option<&str>,
    report: &mut Report,
) -> Option<StagedAction> {
    const FIELD: &str = "spec.stagedAction";
    if !kind.is_staged() {
        if text.is_some() {
            let hint = "remove it, or use the staged kind";
            report.hint(FIELD, "only a staged policy has this field", hint);
        }
        return None;
    }
    const WORDS: [(&str, StagedAction); 4] = [
        ("Set", StagedAction::Set),
        ("Delete", StagedAction::Delete),
        ("Learn", StagedAction::Learn),
        ("Ignore", StagedAction::Ignore),
    ];
    let text = text.filter(|text| !text.is_empty()).unwrap_or("Set");
    Some(report.word(FIELD, text, &WORDS).unwrap_or(StagedAction::Ignore))
}

/// A staged deletion says nothing but which policy it is about.
fn nothing_but_tier(spec: &model::PolicySpec, report: &mut Report) {
    let bare = model::PolicySpec {
        tier: spec.tier.clone(),
        staged_action: spec.staged_action.clone(),
        ..model::PolicySpec::default()
    };
    let given = model::PolicySpec {
        selector: spec.selector.clone().filter(|s| !s.is_empty()),
        ingress: spec.ingress.clone().filter(|rules| !rules.is_empty()),
        egress: spec.egress.clone().filter(|rules| !rules.is_empty()),
        types: spec.types.clone().filter(|types| !types.is_empty()),
        ..spec.clone()
    };
    if given != bare {
        report.hint(
            "spec",
            "a staged deletion has no fields besides `tier` and `stagedAction`",
            "remove the other fields, or stage `Set`",
        );
    }
}

/// Fields that a policy of one namespace may not have.
fn global_only(spec: &model::PolicySpec, report: &mut Report) {
    if spec.namespace_selector.is_some() {
        report.hint(
            "spec.namespaceSelector",
            "a NetworkPolicy applies to its own namespace only",
            "use a GlobalNetworkPolicy",
        );
    }
    for (field, value) in [
        ("spec.doNotTrack", spec.do_not_track),
        ("spec.preDNAT", spec.pre_dnat),
        ("spec.applyOnForward", spec.apply_on_forward),
    ] {
        if value.is_some() {
            let hint = "use a GlobalNetworkPolicy";
            report.hint(field, "only a GlobalNetworkPolicy has this field", hint);
        }
    }
}

fn hints(spec: &model::PolicySpec, report: &mut Report) {
    let hints = spec.performance_hints.as_deref().unwrap_or_default();
    for (index, hint) in hints.iter().enumerate() {
        let field = format!("spec.performanceHints[{index}]");
        let known = report.word(&field, hint, &[("AssumeNeededOnEveryNode", ())]);
        if known.is_some() && hints.iter().take(index).any(|earlier| earlier == hint) {
            report.hint(field, format!("`{hint}` is given twice"), "remove one of them");
        }
    }
}

/// Where a policy of host endpoints is asked.
fn stage(spec: &model::PolicySpec, governs_egress: bool, report: &mut Report) -> Stage {
    let is = |flag: Option<bool>| flag == Some(true);
    let (pre_dnat, untracked) = (is(spec.pre_dnat), is(spec.do_not_track));
    if pre_dnat && untracked {
        let hint = "write one policy for each";
        report.hint("spec.preDNAT", "cannot be combined with `doNotTrack`", hint);
    }
    if pre_dnat && (governs_egress || spec.egress.as_ref().is_some_and(|r| !r.is_empty())) {
        let hint = "remove `egress`, and `Egress` from `types`";
        report.hint("spec.preDNAT", "there is no egress before destination NAT", hint);
    }
    if (pre_dnat || untracked) && !is(spec.apply_on_forward) {
        let field = if pre_dnat { "`preDNAT`" } else { "`doNotTrack`" };
        let reason = format!("must be true with {field}");
        report.hint("spec.applyOnForward", reason, "add `applyOnForward: true`");
    }
    match (untracked, pre_dnat, is(spec.apply_on_forward)) {
        (true, ..) => Stage::Untracked,
        (_, true, _) => Stage::PreDnat,
        (.., true) => Stage::NormalAndForward,
        _ => Stage::Normal,
    }
}

/// The directions a policy governs: as stated, or both if it has rules for both, egress if only
/// for egress, else ingress.
fn types(spec: &model::PolicySpec, report: &mut Report) -> (bool, bool) {
    let has = |rules: &Option<Vec<model::Rule>>| rules.as_ref().is_some_and(|r| !r.is_empty());
    let types = spec.types.as_deref().unwrap_or_default();
    let mut governs = (false, false);
    for (index, text) in types.iter().enumerate() {
        let field = format!("spec.types[{index}]");
        let slot = match report.word(&field, text, &DIRECTIONS) {
            Some(Direction::Ingress) => &mut governs.0,
            Some(Direction::Egress) => &mut governs.1,
            None => continue,
        };
        if std::mem::replace(slot, true) {
            report.hint(field, format!("`{text}` is given twice"), "remove one of them");
        }
    }
    match (types.is_empty(), has(&spec.ingress), has(&spec.egress)) {
        (false, ..) => governs,
        (true, true, true) => (true, true),
        (true, false, true) => (false, true),
        (true, _, false) => (true, false),
    }
}

/// The endpoints a policy applies to.
fn subject(namespace: Option<&str>, spec: &model::PolicySpec, report: &mut Report) -> Selector {
    let mut parts = Vec::new();
    let selector = policy_selector("spec.selector", spec.selector.as_deref(), report);
    parts.extend(selector.filter(|s| !s.is_all()));
    if let Some(namespace) = namespace {
        let own = Selector::equals(NAMESPACE, namespace);
        parts.extend(report.keep_or("metadata.namespace", own, LABEL_HINT));
    }
    let (field, text) = ("spec.namespaceSelector", spec.namespace_selector.as_deref());
    let namespaces = policy_selector(field, text, report).filter(|s| !is_blank(text, s));
    parts.extend(namespaces.and_then(|s| in_namespaces(field, &s, report)));
    let (field, text) = ("spec.serviceAccountSelector", spec.service_account_selector.as_deref());
    let accounts = policy_selector(field, text, report).filter(|s| !is_blank(text, s));
    parts.extend(accounts.and_then(|s| with_accounts(field, &s, report)));
    combine("spec.selector", parts, report).unwrap_or_else(Selector::all)
}

/// A selector of the policy as a whole, where `global()` has no meaning.
fn policy_selector(field: &str, text: Option<&str>, report: &mut Report) -> Option<Selector> {
    let selector = selector(field, text, report)?;
    if selector.uses_global() {
        report.hint(
            field,
            "`global()` may only be a rule's namespaceSelector",
            "use `!has(projectcalico.org/namespace)` to select what has no namespace",
        );
        return None;
    }
    Some(selector)
}

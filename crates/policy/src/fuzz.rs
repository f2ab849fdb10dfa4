//! Bodies for fuzzing, each a property that must hold for any bytes. Tests run them on random
//! input, and the targets in `fuzz/` under libFuzzer.

use tortie_model::{EntityRule, GlobalNetworkPolicy, IntOrString, ObjectMeta, PolicySpec};

use crate::{HttpRequest, NormalPath, PathMatch, Policy, Principal, Rule, SpiffeId};

/// Normalises the bytes as a path. A normal form is one: absolute, without empty and dot segments,
/// backslashes and a slash at its end; and meets itself as a criterion.
pub fn http_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = NormalPath::parse(text);
    let request = HttpRequest::new("GET", text);
    assert_eq!(request.invalid_path().is_none(), parsed.is_ok() && text.starts_with('/'));
    let Ok(path) = parsed else { return };
    let bytes = path.as_bytes();
    assert_eq!(bytes.first(), Some(&b'/'), "{text:?}");
    assert!(!bytes.contains(&b'\\') && !bytes.contains(&0), "{text:?}");
    let mut segments = bytes.split(|b| *b == b'/').skip(1);
    let plain = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    assert!(bytes == b"/" || segments.all(plain), "{text:?}");
    assert!(!path.to_string().contains(char::is_control), "{text:?}");
    let (exact, prefix) =
        (PathMatch::Exact(path.clone().into_owned()), PathMatch::Prefix(path.clone().into_owned()));
    assert!(exact.matches(&path) && prefix.matches(&path), "{text:?}");
}

/// Reads the bytes as a SPIFFE ID. What is read is written as it was.
pub fn spiffe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match SpiffeId::parse(text) {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            assert_eq!(Principal::parse(text), Principal::Workload(id));
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!matches!(Principal::parse(text), Principal::Workload(_)));
        }
    }
}

/// Reads the bytes as a net and as a port of a rule. What is accepted is written as what it means,
/// and that is accepted and means the same.
pub fn cidr_port(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(rule) = rule(Some(text), None) {
        let nets: Vec<String> = rule.source.nets.iter().map(ToString::to_string).collect();
        assert_eq!(nets.len(), 1, "{text:?}");
        let again = nets.first().and_then(|net| self::rule(Some(net), None));
        assert_eq!(again.map(|r| r.source.nets), Some(rule.source.nets), "{text:?}");
    }
    if let Some(rule) = rule(None, Some(text)) {
        let ports: Vec<String> = rule.destination.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports.len(), 1, "{text:?}");
        let again = ports.first().and_then(|port| self::rule(None, Some(port)));
        assert_eq!(again.map(|r| r.destination.ports), Some(rule.destination.ports), "{text:?}");
    }
}

/// The rule with these criteria, if it is accepted.
fn rule(net: Option<&str>, port: Option<&str>) -> Option<Rule> {
    let source = EntityRule { nets: net.map(|n| vec![n.to_owned()]), ..EntityRule::default() };
    let ports = port.map(|p| vec![IntOrString::Text(p.to_owned())]);
    let rule = tortie_model::Rule {
        action: "Allow".to_owned(),
        protocol: Some(IntOrString::Int(6)),
        source: Some(source),
        destination: Some(EntityRule { ports, ..EntityRule::default() }),
        ..tortie_model::Rule::default()
    };
    let policy = GlobalNetworkPolicy {
        metadata: ObjectMeta { name: "p".to_owned(), ..ObjectMeta::default() },
        spec: PolicySpec { ingress: Some(vec![rule]), ..PolicySpec::default() },
    };
    match Policy::try_from(&policy) {
        Ok(policy) => policy.ingress.into_iter().next(),
        Err(errors) => {
            assert!(errors.iter().all(|e| !e.reason.is_empty() && e.field.starts_with("spec.")));
            None
        }
    }
}

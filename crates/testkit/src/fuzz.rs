//! A body for fuzzing, from text to verdict: a property that must hold for any bytes.

use tortie_client::files;
use tortie_policy::{
    Cluster, Party, PortName, Protocol, Query, Trust, explain, lint, request_line,
};

/// Most workloads between which verdicts are asked for.
const MOST: usize = 4;

/// Reads the bytes as resources, in JSON if the first one is odd, puts them together, and asks about
/// flows between what is there. Whatever it is, there is an answer or an error with a reason. Says
/// whether the resources were accepted.
///
/// # Panics
/// If the property does not hold.
pub fn resources(data: &[u8]) -> bool {
    let Some((first, text)) = data.split_first() else { return false };
    let name = if first % 2 == 1 { "fuzz.json" } else { "fuzz.yaml" };
    let loaded = match files::load_text(name, text) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(!errors.is_empty());
            let told = |e: &files::FileError| !e.reason.is_empty() && e.to_string().contains(name);
            assert!(errors.iter().all(told), "{errors:?}");
            return false;
        }
    };
    match Cluster::build(&loaded.resources) {
        Ok(cluster) => {
            let warnings = lint::lint(&loaded.resources, &cluster);
            let told = |w: &lint::Warning| w.text.hint.is_some() && !w.text.field.is_empty();
            assert!(warnings.iter().all(told), "{warnings:?}");
            ask(&cluster);
            true
        }
        Err(invalid) => {
            let told = |i: &tortie_policy::Invalid| !i.error.reason.is_empty();
            assert!(!invalid.is_empty() && invalid.iter().all(told), "{invalid:?}");
            false
        }
    }
}

/// Asks about flows between the first workloads and a stranger.
fn ask(cluster: &Cluster) {
    let workloads = cluster.endpoints().take(MOST).map(|e| Party::Endpoint(e.id.clone()));
    let parties: Vec<Party> = workloads.chain("192.0.2.1".parse()).collect();
    for from in &parties {
        for to in &parties {
            let query = Query {
                from: from.clone(),
                to: to.clone(),
                protocol: Protocol::TCP,
                port: Some(PortName::Number(80)),
                icmp: None,
                http: request_line(Some("GET"), Some("/public/../x%2f")),
                from_identity: Some("spiffe://cluster.local/ns/default/sa/default".to_owned()),
            };
            match explain(cluster, &Trust::default(), &query) {
                Ok(explanation) => {
                    let mut legs = explanation.legs();
                    assert!(legs.all(|(_, leg)| !leg.trace.is_empty()), "{explanation:?}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

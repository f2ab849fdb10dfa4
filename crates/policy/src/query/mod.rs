//! Questions about one flow, answered for each place that decides on its way: the sender's egress
//! policy, the receiver's ingress policy, the host endpoints between them, and the receiver's
//! sidecar.

mod change;
mod draft;
mod explanation;
mod host;
mod identity;
mod question;
mod relabel;
mod resolve;
mod suggest;
mod way;

pub use change::{Change, Described, Nearest};
pub use explanation::{Before, Explanation, Leg, Word};
pub(crate) use host::{Gate, decided_before, gates};
pub use question::{Party, PortName, Query, QueryError, parse_icmp};

use crate::{Address, Cluster, Endpoint, Engine, HttpAtNetwork, Trust};
use resolve::{common_family, port, resolve};
use way::Way;

/// Answers a question about one flow by the reference evaluator. A pod always reaches itself.
///
/// Traffic between a pod and another host passes the host endpoints of the pod's node, if its node
/// is known: all of them are asked, since which interface it takes is not.
///
/// # Errors
/// If the question names something that does not exist.
pub fn explain(cluster: &Cluster, trust: &Trust, query: &Query) -> Result<Explanation, QueryError> {
    explain_by(cluster, cluster, trust, query)
}

/// Answers a question about one flow as an engine decides it.
///
/// # Errors
/// If the question names something that does not exist.
pub fn explain_by(
    engine: &dyn Engine,
    cluster: &Cluster,
    trust: &Trust,
    query: &Query,
) -> Result<Explanation, QueryError> {
    let (from, to) = (resolve(cluster, &query.from)?, resolve(cluster, &query.to)?);
    let (source, destination) = common_family(&from, &to)
        .ok_or_else(|| QueryError::NoFamily(query.from.to_string(), query.to.to_string()))?;
    let port = port(query, &to)?;
    let same = from.workload().is_some_and(|f| to.workload().is_some_and(|t| f.id == t.id));
    if same {
        return Ok(Explanation {
            verdict: Word::Allow,
            egress: None,
            ingress: None,
            forward: Vec::new(),
            application: None,
            before: Vec::new(),
        });
    }
    let way = Way {
        engine,
        cluster,
        trust,
        query,
        from,
        to,
        source: Address { ip: source, port: None },
        destination: Address { ip: destination, port },
    };
    Ok(way.explain())
}

/// What becomes of HTTP criteria where the network decides about traffic to an endpoint.
pub(crate) fn http_at(endpoint: &Endpoint) -> HttpAtNetwork {
    match endpoint.application_enforced {
        true => HttpAtNetwork::Deferred,
        false => HttpAtNetwork::Unenforced,
    }
}

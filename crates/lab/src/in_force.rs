//! Waiting until what the API server holds is in force.
//!
//! The agent tells the kernel's thread and every authorizer the number of the objects that it has been
//! told of, after all that came of them, and both say which number they work by. Here the same objects
//! are listed and counted. A number of its own for each set says of deletions, too, that they are in
//! force, which no object's revision would.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tortie_agent::source::Census;
use tortie_authz::client::{HealthCheck, health};
use tortie_client::server::followed;

use crate::files::read_json;
use crate::state::LabDir;
use crate::status::Status;
use crate::supervisor::{AUTHORIZER, Api};
use crate::{Error, admin};

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(10);
/// When objects are listed anew though the kernel works by what it did: if what was seen has been deleted
/// since, that may be what there is again.
const AGAIN: Duration = Duration::from_millis(500);
/// What the agent says of which set of objects the kernel enforces.
const IN_KERNEL: &str = "tortie_network_revision ";

/// Returns when the kernel and the authorizer of every ready pod work by what the API server holds now,
/// or by something later: what changes meanwhile counts too.
pub(crate) async fn wait(dir: &LabDir, api: &Api) -> Result<(), Error> {
    let mut missing = "an answer of the API server".to_owned();
    let done = timeout(LIMIT, async {
        let mut last: Option<Look> = None;
        loop {
            let kernel = in_kernel(dir);
            let look = match last.take() {
                Some(last) if last.counts(kernel) => last,
                _ => Look { kernel, held: held(api).await?, at: Instant::now() },
            };
            match behind(dir, kernel, look.held).await? {
                Some(what) => missing = what,
                None => return Ok(()),
            }
            last = Some(look);
            sleep(INTERVAL).await;
        }
    });
    done.await.unwrap_or_else(|_| Err(Error::Timeout { what: missing, seconds: LIMIT.as_secs() }))
}

/// A look at the API server's objects. It takes much longer than to ask what the kernel works by.
struct Look {
    /// What the kernel worked by before.
    kernel: Option<u64>,
    /// The number of the objects.
    held: u64,
    at: Instant,
}

impl Look {
    /// Whether another look can wait: the kernel works by what was seen, or still by what it did.
    fn counts(&self, kernel: Option<u64>) -> bool {
        kernel == Some(self.held) || (kernel == self.kernel && self.at.elapsed() < AGAIN)
    }
}

/// The number of what the API server holds.
async fn held(api: &Api) -> Result<u64, Error> {
    let mut census = Census::default();
    for followed in followed() {
        for object in api.list(&followed.api).await? {
            census.put(&followed.api, &object);
        }
    }
    Ok(census.number())
}

/// What does not work by this set of objects.
async fn behind(dir: &LabDir, kernel: Option<u64>, number: u64) -> Result<Option<String>, Error> {
    if kernel != Some(number) {
        return Ok(Some("policy in the kernel".to_owned()));
    }
    let status: Status = read_json(&dir.status())?;
    for pod in status.pods.iter().filter(|pod| pod.sidecar && pod.ready) {
        let socket = dir.pod(&pod.interface).authorizer_socket();
        let report = health(&socket, HealthCheck::Readiness).await;
        if !report.is_ok_and(|report| report.fingerprint == Some(number)) {
            return Ok(Some(format!("pod `{}`: loading of policy by `{AUTHORIZER}`", pod.id())));
        }
    }
    Ok(None)
}

fn in_kernel(dir: &LabDir) -> Option<u64> {
    let metrics = admin::get(&dir.agent_admin(), "/metrics").unwrap_or_default();
    metrics.lines().find_map(|line| line.strip_prefix(IN_KERNEL)?.parse().ok())
}

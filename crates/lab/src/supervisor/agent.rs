//! The node's agent: follows the API server, keeps the kernel to its policy, and tells every authorizer
//! the policy of its pod, over a socket that is mounted into that pod alone.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tortie_apiserver::cli::{Kubeconfig, Places, Proof};
use tortie_apiserver::{AGENT_USER, Credential, Entry, Register, new_token};
use tortie_daemon::file;
use tortie_policysync::server::layout::{self, Credentials};

use super::Environment;
use super::network::Pause;
use super::probe::Probe;
use crate::Error;
use crate::error::At;
use crate::files::{open_log, tail};
use crate::plan::{NODE_NAME, PodPlan};
use crate::privileges::Privileges;

/// The pause before it is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// The folder of a pod's socket: that of its link, for the sake of a short path.
pub(super) fn socket_folder(env: &Environment, pod: &PodPlan) -> PathBuf {
    env.dir.policy_sync().join("mount").join(&pod.link.interface)
}

/// Says that a pod has a socket, as the driver of a cluster does that mounts it: a process must be in
/// the pod's network to be told anything.
pub(super) fn announce(env: &Environment, pod: &PodPlan, pause: &Pause) -> Result<(), Error> {
    let prefix = env.dir.policy_sync();
    let credentials = Credentials {
        uid: pod.uid.clone(),
        workload: pod.id.name.clone(),
        namespace: pod.id.namespace.clone(),
        service_account: pod.account.clone(),
        network_namespace: format!("/proc/{}/ns/net", pause.pid()),
    };
    layout::announce(&prefix, &pod.link.interface, &credentials).at("write", &prefix)?;
    // Authorizers run as another user; the lab's directory lets in nobody from outside.
    let folder = socket_folder(env, pod);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&folder, open).at("change", &folder)
}

/// Takes that back.
pub(super) fn withdraw(env: &Environment, pod: &PodPlan) -> Result<(), Error> {
    let prefix = env.dir.policy_sync();
    layout::withdraw(&prefix, &pod.link.interface).at("remove", &prefix)
}

/// Keeps the agent running. Authorizers work on with what they know while it is away.
pub(super) async fn run(env: Arc<Environment>) {
    loop {
        match invite(&env).and_then(|()| start(&env)) {
            Ok(mut child) => {
                let end = child.wait().await;
                tracing::error!(?end, log = %env.dir.agent_log().display(), "the agent ended");
            }
            Err(error) => tracing::error!(%error, "the agent could not be started"),
        }
        sleep(PAUSE).await;
    }
}

/// Where it says whether it is ready.
fn admin(env: &Environment) -> OsString {
    let mut place = OsString::from("unix:");
    place.push(env.dir.agent_admin());
    place
}

/// Returns when the kernel does what policy says. It will not before a pod has what policy is about;
/// so no pod is started before.
pub(super) async fn ready(env: &Environment) -> Result<(), Error> {
    let socket = env.dir.agent_admin();
    let passed = timeout(READY, Probe::Ready(socket).passed()).await;
    passed.map_err(|_| {
        let said = tail(&env.dir.agent_log(), 1).join("; ");
        Error::program("tortie agent", said)
    })
}

/// Lets the API server know the next agent, and no earlier one, as a user that may read what an agent
/// needs. It shows a token, because it comes by the socket: there are no certificates there, and no
/// other way out of the node's network.
fn invite(env: &Environment) -> Result<(), Error> {
    let places = Places::new(&env.dir.api());
    let (token, credential) = new_token().map_err(|error| Error::program("a token", error))?;
    admit(&Register::new(&places.pki()), credential)?;
    let own = fs::read_to_string(places.kubeconfig()).at("read", places.kubeconfig())?;
    let config = Kubeconfig::like(&own)
        .ok_or_else(|| Error::program("tortie apiserver", "its kubeconfig names no server"))?;
    let text = config.of(AGENT_USER, &Proof::Token(token));
    let path = env.dir.agent_kubeconfig();
    let written = file::replace(&path, text.as_bytes(), 0o600);
    written.map_err(|error| Error::program("the agent's kubeconfig", error))
}

/// Lets this be what the agent is known by, for as long as the lab lives.
fn admit(register: &Register, credential: Credential) -> Result<(), Error> {
    let now = SystemTime::now();
    let entry = Entry {
        user: AGENT_USER.to_owned(),
        groups: Vec::new(),
        credential,
        created: OffsetDateTime::from(now).unix_timestamp(),
        expires: i64::MAX,
        revoked: false,
    };
    let admitted = register.remove(AGENT_USER, now).and_then(|_| register.add(entry, now));
    admitted.map_err(|error| Error::program("the agent's user", error))
}

fn start(env: &Environment) -> Result<Child, Error> {
    let log = open_log(&env.dir.agent_log())?;
    let words = Privileges::AGENT.words("setpriv");
    let (program, words) = words.split_first().ok_or_else(|| Error::program("setpriv", ""))?;
    Command::new(program)
        .args(words)
        .arg(&env.executable)
        .args(["agent", "--log-format", "json", "--node", NODE_NAME, "--socket-mode", "666"])
        // What waits for a change to be in force waits for pods too.
        .args(["--revision-of-everything", "--server", &env.dir.api_url()])
        .arg("--kubeconfig")
        .arg(env.dir.agent_kubeconfig())
        .arg("--policy-sync-prefix")
        .arg(env.dir.policy_sync())
        .arg("--admin")
        .arg(admin(env))
        // As its unit sets it: what its threads leave behind is used again.
        .env("MALLOC_ARENA_MAX", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().at("open", env.dir.agent_log())?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .at("run", program)
}

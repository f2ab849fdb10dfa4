//! One pod: its network, its containers in their order, and its end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tortie_mesh::envoy;

use super::container::Container;
use super::network::{self, Pause};
use super::probe::Probe;
use super::{Environment, agent};
use crate::Error;
use crate::files::create_private_dir;
use crate::inside::sandbox::{Bind, Sandbox};
use crate::plan::{CONTAINER_PATH, ContainerPlan, PodPlan, Restart, view};
use crate::privileges::Privileges;
use crate::process::{ProcessId, child_of};
use crate::state::LabDir;
use crate::status::{ContainerStatus, Role, Status};

/// The container that is a pod's Envoy, as Istio calls it.
pub(crate) const PROXY: &str = "istio-proxy";
/// The container that is a pod's authorizer.
pub(crate) const AUTHORIZER: &str = "tortie-authz";

/// Directories every container shares read-only with the machine.
const SHARED: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// How often, and after which pause each, a pod's files are removed: its last processes may still be
/// dying.
const REMOVALS: (u32, Duration) = (50, Duration::from_millis(20));

/// The containers of a pod as they are before anything was started, those of the sidecar first.
pub(crate) fn waiting(dir: &LabDir, pod: &PodPlan) -> Vec<ContainerStatus> {
    let waiting = |name: &str, role: Role, image: &str| {
        ContainerStatus::waiting(name, role, image, dir.log(&pod.id, name))
    };
    let sidecar = [(AUTHORIZER, pod.has_sidecar()), (PROXY, pod.proxy.is_some())];
    let sidecar = sidecar.into_iter().filter(|(_, present)| *present);
    let sidecar = sidecar.map(|(name, _)| waiting(name, Role::Sidecar, name));
    let init = pod.init.iter().map(|c| waiting(&c.name, Role::Init, &c.image));
    let own = pod.containers.iter().map(|c| waiting(&c.name, Role::Application, &c.image));
    sidecar.chain(init).chain(own).collect()
}

/// Runs a pod until it is stopped, and leaves nothing of it. Its files are there already.
pub(crate) async fn run(
    env: Arc<Environment>,
    plan: Arc<PodPlan>,
    stopping: watch::Receiver<bool>,
) {
    let mut stopped = stopping.clone();
    let result = live(&env, &plan, stopping).await;
    if let Err(error) = result {
        tracing::error!(pod = %plan.id, %error, "could not be started");
        env.status.send_modify(|status| {
            status.update_pod(&plan.uid, |pod| {
                for container in &mut pod.containers {
                    container.reason = Some("CreatePodSandboxError".to_owned());
                    container.message = Some(error.to_string());
                }
            });
        });
        let _ = stopped.wait_for(|stopping| *stopping).await;
    }
    network::leave(&plan).await;
    if let Err(error) = agent::withdraw(&env, &plan) {
        tracing::warn!(pod = %plan.id, %error, "its credentials are left behind");
    }
    remove_files(&env, &plan).await;
}

async fn live(
    env: &Arc<Environment>,
    plan: &Arc<PodPlan>,
    stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    if let Some(log) = env.dir.log(&plan.id, "any").parent() {
        create_private_dir(log)?;
    }
    let pause = network::join(env, plan).await?;
    if plan.has_sidecar() {
        agent::announce(env, plan, &pause)?;
    }
    let maker = Maker { env, pod: plan, pause: &pause, stopping: stopping.clone() };
    let mut parts = JoinSet::new();
    let mut stopped = stopping.clone();
    let ended = async {
        start(&maker, &mut parts).await;
        // A pod that has done all it is for keeps its place until it is deleted.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ended => {}
        _ = stopped.wait_for(|stopping| *stopping) => {}
    }
    terminate(env, plan).await;
    parts.shutdown().await;
    Ok(())
}

/// Starts the containers: authorizer, Envoy when that answers, init containers when Envoy is ready,
/// and then the rest.
async fn start(maker: &Maker<'_>, parts: &mut JoinSet<bool>) {
    let sidecar = [
        maker.pod.has_sidecar().then(|| maker.authorizer()),
        maker.pod.proxy.as_ref().map(|_| maker.proxy()),
    ];
    for part in sidecar.into_iter().flatten() {
        let name = part.name.clone();
        let env = Arc::clone(maker.env);
        parts.spawn(async move { part.run(&env).await });
        let mut status = maker.env.status.subscribe();
        if wait_ready(&mut status, &maker.pod.uid, &name).await.is_none() {
            return;
        }
    }
    for container in &maker.pod.init {
        if !maker.application(container, Restart::OnFailure).run(maker.env).await {
            return;
        }
    }
    for container in &maker.pod.containers {
        let container = maker.application(container, maker.pod.restart);
        let env = Arc::clone(maker.env);
        parts.spawn(async move { container.run(&env).await });
    }
}

async fn wait_ready(
    status: &mut watch::Receiver<Status>,
    uid: &str,
    container: &str,
) -> Option<()> {
    let is_ready = |status: &Status| {
        let containers = status.pod(uid).map(|pod| pod.containers.as_slice());
        containers.unwrap_or_default().iter().any(|c| c.name == container && c.ready)
    };
    status.wait_for(is_ready).await.ok().map(drop)
}

/// Asks the pod's own programs to end, and gives them their time. What still runs then is killed by
/// whoever called this.
async fn terminate(env: &Environment, plan: &PodPlan) {
    let own = |c: &&ContainerStatus| c.role != Role::Sidecar && c.pid.is_some();
    let pids: Vec<u32> = match env.status.borrow().pod(&plan.uid) {
        Some(pod) => pod.containers.iter().filter(own).filter_map(|c| c.pid).collect(),
        None => return,
    };
    for pid in pids {
        // unshare, pid 1 of the container, the program.
        let program = child_of(pid).and_then(child_of).and_then(|pid| ProcessId::of(pid).ok());
        if let Some(process) = program.and_then(ProcessId::open)
            && let Err(error) = process.terminate()
        {
            tracing::warn!(pod = %plan.id, %error, "a program could not be asked to end");
        }
    }
    let mut status = env.status.subscribe();
    let all_ended = status.wait_for(|status| {
        status.pod(&plan.uid).is_none_or(|pod| !pod.containers.iter().any(|c| own(&c)))
    });
    let _ = timeout(Duration::from_secs(plan.grace), all_ended).await;
}

async fn remove_files(env: &Environment, plan: &PodPlan) {
    let dir = env.dir.pod(&plan.link.interface);
    let log = env.dir.log(&plan.id, "any");
    let (tries, pause) = REMOVALS;
    for path in [dir.path(), log.parent().unwrap_or(&log)] {
        for _ in 0..tries {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => sleep(pause).await,
                _ => break,
            }
        }
    }
}

/// Makes the containers of one pod.
struct Maker<'a> {
    env: &'a Arc<Environment>,
    pod: &'a PodPlan,
    pause: &'a Pause,
    stopping: watch::Receiver<bool>,
}

impl Maker<'_> {
    fn container(&self, name: &str, sandbox: Sandbox, probe: Probe, restart: Restart) -> Container {
        Container {
            pod: self.pod.uid.clone(),
            name: name.to_owned(),
            enter: self.pause.enter(),
            log: self.env.dir.log(&self.pod.id, name),
            sandbox,
            probe,
            restart,
            stopping: self.stopping.clone(),
        }
    }

    fn sandbox(&self, argv: Vec<String>, privileges: Privileges) -> Sandbox {
        let files = [
            ("/etc/resolv.conf", crate::plan::resolv_conf(&self.pod.id.namespace)),
            ("/etc/hostname", format!("{}\n", self.pod.id.name)),
        ];
        let names = self.env.dir.pod(&self.pod.link.interface).names();
        Sandbox {
            scratch: self.env.dir.scratch(),
            files: files.map(|(path, content)| (path.to_owned(), content)).into(),
            links: [("/etc/hosts".to_owned(), format!("{}/hosts", view::NAMES))].into(),
            binds: vec![Bind::read_only(names, view::NAMES)],
            argv,
            env: BTreeMap::from([("PATH".to_owned(), CONTAINER_PATH.to_owned())]),
            directory: "/".to_owned(),
            privileges,
        }
    }

    fn authorizer(&self) -> Container {
        let argv = [
            view::TORTIE,
            "authz",
            "server",
            "--log-format",
            "json",
            "--listen",
            view::AUTHORIZER_SOCKET,
            "--dial",
            view::POLICY_SYNC_SOCKET,
        ];
        let argv = argv.map(str::to_owned).to_vec();
        let dir = self.env.dir.pod(&self.pod.link.interface);
        let rootless = self.env.settings.rootless;
        let mut sandbox = self.sandbox(argv, Privileges::sidecar(rootless, false));
        sandbox.binds.extend([
            Bind::read_only(&self.env.executable_file, view::TORTIE),
            Bind::read_only(agent::socket_folder(self.env, self.pod), view::POLICY_SYNC),
            Bind::writable(dir.run(), view::RUN),
        ]);
        let probe = Probe::Authorizer(dir.authorizer_socket());
        self.container(AUTHORIZER, sandbox, probe, Restart::Always)
    }

    fn proxy(&self) -> Container {
        let arguments = envoy::arguments(Path::new(view::BOOTSTRAP), None);
        let arguments = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let argv = [view::ENVOY.to_owned()].into_iter().chain(arguments).collect();
        let dir = self.env.dir.pod(&self.pod.link.interface);
        let settings = &self.env.settings;
        let privileges = Privileges::sidecar(settings.rootless, self.pod.has_sidecar());
        let mut sandbox = self.sandbox(argv, privileges);
        let binary = settings.envoy.clone().unwrap_or_default();
        sandbox.binds.extend([
            Bind::read_only(binary, view::ENVOY),
            Bind::read_only(dir.bootstrap(), view::BOOTSTRAP),
            Bind::read_only(dir.sds(), view::SDS),
            Bind::read_only(dir.xds(), view::XDS),
            Bind::writable(dir.run(), view::RUN),
        ]);
        let probe = Probe::Ready(dir.admin_socket());
        self.container(PROXY, sandbox, probe, Restart::Always)
    }

    fn application(&self, plan: &ContainerPlan, restart: Restart) -> Container {
        let mut sandbox = self.sandbox(plan.argv.clone(), Privileges::APPLICATION);
        sandbox.env.clone_from(&plan.env);
        sandbox.directory.clone_from(&plan.directory);
        sandbox.binds.extend(self.mounts(plan));
        if let Some(program) = sandbox.argv.first_mut()
            && let Some(bind) = program_bind(program)
        {
            program.clone_from(&bind.target);
            sandbox.binds.push(bind);
        }
        let ports = plan.ports.iter().copied().collect();
        let probe = match plan.ports.as_slice() {
            [] => Probe::Lasts,
            _ => Probe::Listening { process: self.pause.pid(), ports },
        };
        self.container(&plan.name, sandbox, probe, restart)
    }

    fn mounts(&self, plan: &ContainerPlan) -> Vec<Bind> {
        let dir = self.env.dir.pod(&self.pod.link.interface);
        let bind = |mount: &crate::plan::MountPlan| {
            let volume = dir.volume(&mount.volume);
            let source = match &mount.sub_path {
                Some(sub) => volume.join(sub),
                None => volume,
            };
            Bind { source, target: mount.path.clone(), writable: !mount.read_only }
        };
        plan.mounts.iter().map(bind).collect()
    }
}

/// What lets a container see its program, if that is not in a directory it sees anyway.
fn program_bind(program: &str) -> Option<Bind> {
    let shared = |path: &Path| SHARED.iter().any(|dir| path.starts_with(dir));
    let real = fs::canonicalize(program).ok()?;
    if shared(&real) && shared(Path::new(program)) {
        return None;
    }
    let real = real.into_os_string().into_string().ok()?;
    Some(Bind::read_only(&real, real.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_machine_need_no_bind() {
        assert_eq!(program_bind("/usr/bin/env"), None);
        let own = std::env::current_exe().unwrap();
        let bind = program_bind(own.to_str().unwrap()).unwrap();
        assert_eq!(Path::new(&bind.target), bind.source);
    }
}

//! The containers of one pod: what each sees, and in which order they start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tortie_mesh::envoy;

use super::container::Container;
use super::network::Pause;
use super::probe::Probe;
use super::{Environment, agent, certificates};
use crate::Error;
use crate::error::At;
use crate::files::{create_dir_for, create_private_dir, replace_for};
use crate::inside::sandbox::{Bind, Sandbox};
use crate::plan::{CONTAINER_PATH, ContainerPlan, PodPlan, Restart, view};
use crate::privileges::Privileges;
use crate::state::LabDir;
use crate::status::{ContainerStatus, Role, Status};

/// The container that is a pod's Envoy, as Istio calls it.
pub(crate) const PROXY: &str = "istio-proxy";
/// The container that is a pod's authorizer.
pub(crate) const AUTHORIZER: &str = "tortie-authz";

/// Directories every container shares read-only with the machine.
const SHARED: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// Makes the directories and files of a pod, but for its certificates.
pub(crate) fn prepare(env: &Environment, pod: &PodPlan) -> Result<(), Error> {
    let dir = env.dir.pod(&pod.link.interface);
    create_private_dir(dir.path())?;
    if let Some(log) = env.dir.log(&pod.id, "any").parent() {
        create_private_dir(log)?;
    }
    for volume in &pod.volumes {
        let path = dir.volume(&volume.name);
        fs::create_dir_all(&path).at("create", &path)?;
    }
    certificates::publish_given(env, pod)?;
    let Some(proxy) = &pod.proxy else { return Ok(()) };
    let owner = Privileges::sidecar(env.plan.rootless, false).user;
    create_dir_for(owner, &dir.run())?;
    create_dir_for(owner, &dir.sds())?;
    let bootstrap = dir.bootstrap();
    let staged = bootstrap.with_extension("new");
    replace_for(owner, &staged, &bootstrap, proxy.bootstrap.to_string().as_bytes())
}

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

/// Keeps the containers of a pod running: authorizer, Envoy when that answers, the pod's own
/// containers when Envoy is ready.
pub(crate) async fn run(env: Arc<Environment>, position: usize, pause: Pause) {
    let Some(pod) = env.plan.pods.get(position).cloned() else { return };
    let maker = Maker { env: &env, pod: &pod, position, pause: &pause };
    let mut parts = Vec::new();
    let sidecar =
        [pod.has_sidecar().then(|| maker.authorizer()), pod.proxy.as_ref().map(|_| maker.proxy())];
    for part in sidecar.into_iter().flatten() {
        let name = part.name.clone();
        let env = Arc::clone(&env);
        parts.push(tokio::spawn(async move { part.run(&env).await }));
        let mut status = maker.env.status.subscribe();
        if wait_ready(&mut status, position, &name).await.is_none() {
            return;
        }
    }
    for container in &pod.init {
        let once = Restart::OnFailure;
        if !maker.application(container, once).run(&env).await {
            return;
        }
    }
    for container in &pod.containers {
        let container = maker.application(container, pod.restart);
        let env = Arc::clone(&env);
        parts.push(tokio::spawn(async move { container.run(&env).await }));
    }
    for part in parts {
        let _ = part.await;
    }
}

async fn wait_ready(
    status: &mut watch::Receiver<Status>,
    pod: usize,
    container: &str,
) -> Option<()> {
    let is_ready = |status: &Status| {
        let containers = status.pods.get(pod).map(|pod| pod.containers.as_slice());
        containers.unwrap_or_default().iter().any(|c| c.name == container && c.ready)
    };
    status.wait_for(is_ready).await.ok().map(drop)
}

/// Makes the containers of one pod.
struct Maker<'a> {
    env: &'a Environment,
    pod: &'a PodPlan,
    position: usize,
    pause: &'a Pause,
}

impl Maker<'_> {
    fn container(&self, name: &str, sandbox: Sandbox, probe: Probe, restart: Restart) -> Container {
        Container {
            pod: self.position,
            name: name.to_owned(),
            enter: self.pause.enter(),
            log: self.env.dir.log(&self.pod.id, name),
            sandbox,
            probe,
            restart,
        }
    }

    fn sandbox(&self, argv: Vec<String>, privileges: Privileges) -> Sandbox {
        let files = [
            ("/etc/hosts", self.pod.hosts.clone()),
            ("/etc/resolv.conf", self.pod.resolv_conf.clone()),
            ("/etc/hostname", format!("{}\n", self.pod.id.name)),
        ];
        Sandbox {
            scratch: self.env.dir.scratch(),
            files: files.map(|(path, content)| (path.to_owned(), content)).into(),
            binds: Vec::new(),
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
        let mut sandbox = self.sandbox(argv, Privileges::sidecar(self.env.plan.rootless, false));
        sandbox.binds = vec![
            Bind::read_only(&self.env.executable_file, view::TORTIE),
            Bind::read_only(agent::socket_folder(self.env, self.pod), view::POLICY_SYNC),
            Bind::writable(dir.run(), view::RUN),
        ];
        let probe = Probe::Authorizer(dir.authorizer_socket());
        self.container(AUTHORIZER, sandbox, probe, Restart::Always)
    }

    fn proxy(&self) -> Container {
        let arguments = envoy::arguments(Path::new(view::BOOTSTRAP), None);
        let arguments = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let argv = [view::ENVOY.to_owned()].into_iter().chain(arguments).collect();
        let dir = self.env.dir.pod(&self.pod.link.interface);
        let marks = self.pod.has_sidecar();
        let mut sandbox = self.sandbox(argv, Privileges::sidecar(self.env.plan.rootless, marks));
        let binary = self.env.plan.envoy.clone().unwrap_or_default();
        sandbox.binds = vec![
            Bind::read_only(binary, view::ENVOY),
            Bind::read_only(dir.bootstrap(), view::BOOTSTRAP),
            Bind::read_only(dir.sds(), view::SDS),
            Bind::writable(dir.run(), view::RUN),
        ];
        let probe = Probe::Ready(dir.admin_socket());
        self.container(PROXY, sandbox, probe, Restart::Always)
    }

    fn application(&self, plan: &ContainerPlan, restart: Restart) -> Container {
        let mut sandbox = self.sandbox(plan.argv.clone(), Privileges::APPLICATION);
        sandbox.env.clone_from(&plan.env);
        sandbox.directory.clone_from(&plan.directory);
        sandbox.binds = self.mounts(plan);
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

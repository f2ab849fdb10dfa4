//! What a pod sees of others, and of the API server's objects, while it runs: names, Secrets and
//! ConfigMaps, its certificate, and where its Envoy finds the mesh.
//!
//! Everything is written only where it differs from what is there, as whole files.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tortie_mesh::envoy::{DiscoveryFile, GatewayListener, MutualTls};
use tortie_mesh::sds;

use super::Environment;
use super::certificates::Certificates;
use crate::Error;
use crate::error::At;
use crate::files::{create_dir_for, create_private_dir, replace, replace_for, replace_json};
use crate::plan::{
    Inventory, PodPlan, ProxyPlan, ServicePlan, gateway_proxy, hosts, sidecar_proxy,
};
use crate::privileges::Privileges;
use crate::state::PodDir;

use super::volumes;

/// What there is around pods now.
pub(super) struct Surroundings<'a> {
    pub(super) env: &'a Environment,
    pub(super) inventory: &'a Inventory,
    pub(super) certificates: &'a Certificates,
    pub(super) pods: &'a [&'a PodPlan],
    pub(super) services: &'a [ServicePlan],
    pub(super) listeners: &'a [GatewayListener],
}

impl Surroundings<'_> {
    /// Makes the directories and files of a new pod.
    pub(super) fn prepare(&self, pod: &PodPlan) -> Result<(), Error> {
        let dir = self.dir(pod);
        create_private_dir(dir.path())?;
        create_private_dir(&dir.names())?;
        // Whoever runs as another user in the pod reads the hosts file too.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.names(), open).at("change", dir.names())?;
        for volume in &pod.volumes {
            let path = dir.volume(&volume.name);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        replace_json(&dir.plan(), pod)?;
        if let Some(proxy) = &pod.proxy {
            for own in [dir.run(), dir.sds(), dir.xds()] {
                create_dir_for(self.sidecar_user(), &own)?;
            }
            let bootstrap = self.bootstrap(pod, proxy)?;
            self.write_for_sidecar(&dir.bootstrap(), &bootstrap.to_string())?;
        }
        self.update(pod)
    }

    /// Brings what a pod sees up to date.
    pub(super) fn update(&self, pod: &PodPlan) -> Result<(), Error> {
        let dir = self.dir(pod);
        let names = hosts(&pod.id, &pod.link.addresses, self.services);
        write_changed(&dir.names().join("hosts"), names.as_bytes())?;
        for volume in &pod.volumes {
            let found = self.inventory.contents(&pod.id.namespace, &volume.source);
            if let Some((chosen, Some(contents))) = found {
                volumes::publish(&dir.volume(&volume.name), chosen, contents)?;
            }
        }
        let Some(proxy) = &pod.proxy else { return Ok(()) };
        if let Some(issued) = self.certificates.of(&pod.id.namespace, &pod.account) {
            for (name, content) in sds::files(issued) {
                self.write_for_sidecar(&dir.sds().join(name), &content)?;
            }
        }
        for (name, content) in self.discovery(pod, proxy)? {
            self.write_for_sidecar(&dir.xds().join(name), &content.to_string())?;
        }
        Ok(())
    }

    fn dir(&self, pod: &PodPlan) -> PodDir {
        self.env.dir.pod(&pod.link.interface)
    }

    fn sidecar_user(&self) -> Option<u32> {
        Privileges::sidecar(self.env.settings.rootless, false).user
    }

    fn mutual_tls(&self) -> MutualTls {
        if self.env.settings.permissive { MutualTls::Permissive } else { MutualTls::Strict }
    }

    fn bootstrap(&self, pod: &PodPlan, proxy: &ProxyPlan) -> Result<Value, Error> {
        let result = match proxy {
            ProxyPlan::Sidecar { .. } => {
                let sidecar = sidecar_proxy(pod, self.mutual_tls(), self.pods, self.services);
                sidecar.map_err(failed)?.bootstrap()
            }
            ProxyPlan::Gateway => gateway_proxy(pod, Vec::new()).map_err(failed)?.bootstrap(),
        };
        result.map_err(failed)
    }

    fn discovery(&self, pod: &PodPlan, proxy: &ProxyPlan) -> Result<Vec<DiscoveryFile>, Error> {
        let result = match proxy {
            ProxyPlan::Sidecar { .. } => {
                let sidecar = sidecar_proxy(pod, self.mutual_tls(), self.pods, self.services);
                sidecar.map_err(failed)?.discovery()
            }
            ProxyPlan::Gateway => {
                gateway_proxy(pod, self.listeners.to_vec()).map_err(failed)?.discovery()
            }
        };
        result.map_err(failed)
    }

    /// Replaces a file that the sidecar's user reads. It is written outside of its directory, which
    /// Envoy watches, until it is whole.
    fn write_for_sidecar(&self, path: &Path, content: &str) -> Result<(), Error> {
        if fs::read(path).is_ok_and(|now| now == content.as_bytes()) {
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let outside = path.parent().and_then(Path::parent).unwrap_or(path);
        let staged = outside.join(format!(".{name}.new"));
        replace_for(self.sidecar_user(), &staged, path, content.as_bytes())
    }
}

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::program("envoy", reason)
}

fn write_changed(path: &Path, content: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|now| now == content) {
        return Ok(());
    }
    replace(path, content, 0o644)
}

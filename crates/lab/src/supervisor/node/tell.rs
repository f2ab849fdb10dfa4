//! What the node tells: the lab's own status, and to the API server how pods are, what cannot be used,
//! and that it lives.

use serde_json::{Value, json};
use tokio::time::Instant;
use tortie_model::FieldError;

use super::{Around, HEARTBEAT, Node};
use crate::Error;
use crate::controllers::{self, Action};
use crate::plan::{GATEWAY_NAME, GATEWAY_NAMESPACE, NODE_NAME};
use crate::status::{Named, SecretStatus, ServiceStatus};
use crate::supervisor::{register, report};
use crate::world::{Kind, World, is_terminating, key, text};

impl Node {
    /// Brings up to date what the lab's own status says of the world.
    pub(super) fn say(&self, around: &Around) {
        let services = self.led.iter().flat_map(|(services, _)| services);
        let services: Vec<ServiceStatus> = services.map(ServiceStatus::from).collect();
        let accounts = around.inventory.accounts.iter();
        let accounts =
            accounts.map(|a| Named { namespace: a.namespace.clone(), name: a.name.clone() });
        let accounts: Vec<Named> = accounts.collect();
        let secrets = self.world.documents(Kind::Secret).map(|secret| {
            let (namespace, name) = key(secret);
            SecretStatus { namespace, name, type_: text(secret, "/type").to_owned() }
        });
        let secrets: Vec<SecretStatus> = secrets.collect();
        let gateway = self.world.get(Kind::Service, GATEWAY_NAMESPACE, GATEWAY_NAME);
        let url = gateway.map(|_| format!("http://127.0.0.1:{}", self.gateway_port));
        self.env.status.send_if_modified(|status| {
            let before = status.clone();
            status.services = services;
            status.service_accounts = accounts;
            status.secrets = secrets;
            status.gateway_url = url;
            *status != before
        });
    }

    /// Tells the API server how pods are, and what is wrong with objects.
    pub(super) async fn report(&mut self) -> Result<(), Error> {
        let now = self.env.now();
        let status = self.env.status.borrow().clone();
        let mut actions = Vec::new();
        for document in self.world.documents(Kind::Pod).filter(|pod| !is_terminating(pod)) {
            if let Some(found) = status.pod(text(document, "/metadata/uid")) {
                let found = report::status(document, found, &now);
                actions.extend(controllers::status(Kind::Pod, document, found));
            }
        }
        for action in actions {
            self.api.perform(action, &mut self.world).await?;
        }
        Ok(())
    }

    /// Says as Events why pods and other objects cannot be used.
    pub(super) async fn warn(&mut self, around: Around) -> Result<(), Error> {
        let mut news: Vec<(Value, FieldError)> = Vec::new();
        for (uid, error) in self.pods.refused() {
            let mut pods = self.world.documents(Kind::Pod);
            let found = pods.find(|pod| text(pod, "/metadata/uid") == uid);
            news.extend(found.map(|pod| (pod.clone(), error.clone())));
        }
        let (_, errors) = match &self.led {
            Some((services, _)) => around.inventory.ingress.listeners(services),
            None => Default::default(),
        };
        let routes = errors.into_iter().filter_map(|(position, error)| {
            Some((around.sources.get(position)?.raw.clone(), error))
        });
        news.extend(routes);
        news.extend(around.problems.into_iter().map(|(resource, e)| (resource.raw.clone(), e)));
        for (object, error) in news {
            let told = (text(&object, "/metadata/uid").to_owned(), error.to_string());
            if self.told.insert(told) {
                let event = event(&object, &error.to_string(), &self.env.now());
                self.api.perform(Action::Create(Kind::Event, event), &mut World::default()).await?;
            }
        }
        Ok(())
    }

    /// Says that the node lives, when it is time.
    pub(super) async fn beat(&mut self) -> Result<(), Error> {
        if Instant::now() < self.heartbeat {
            return Ok(());
        }
        self.api.put(Kind::Lease, &register::lease(&self.env.precise_now())).await?;
        let node = self.world.get(Kind::Node, "", NODE_NAME).map(|node| &node.raw);
        let now = self.env.now();
        let alive =
            node.and_then(|n| controllers::status(Kind::Node, n, register::status(n, &now)));
        if let Some(action) = alive {
            self.api.perform(action, &mut self.world).await?;
        }
        self.heartbeat = Instant::now() + HEARTBEAT;
        Ok(())
    }
}

/// What `kubectl describe` shows of an object that cannot be used.
fn event(object: &Value, message: &str, now: &str) -> Value {
    let (namespace, name) = key(object);
    let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
    let uid = text(object, "/metadata/uid");
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": format!("{name}."), "namespace": namespace},
        "involvedObject": {
            "apiVersion": text(object, "/apiVersion"), "kind": text(object, "/kind"),
            "namespace": namespace, "name": name, "uid": uid,
        },
        "type": "Warning", "reason": "Failed", "message": message, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": "kubelet", "host": NODE_NAME},
        "reportingComponent": "kubelet", "reportingInstance": NODE_NAME,
    })
}

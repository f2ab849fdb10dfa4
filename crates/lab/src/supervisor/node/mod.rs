//! The node: follows the API server, does what controllers want, and makes the pods that run be those
//! that are given to it.
//!
//! One task owns all of this. Whatever happens (the API server tells something, a container starts or
//! ends, a certificate is due), it looks at the whole state anew and does what is missing; so nothing
//! depends on the order in which it learns of things, or on having learned of each.

mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tortie_client::server::{Event, Follow};
use tortie_mesh::envoy::GatewayListener;
use tortie_model::{FieldError, Pod, Resource};
use tortie_policy::service_account;

use super::api::Api;
use super::certificates::Certificates;
use super::pods::Pods;
use super::surroundings::Surroundings;
use super::{Environment, network};
use crate::Error;
use crate::controllers::{self, Facts};
use crate::plan::{Account, Inventory, NODE_NAME, Planner, PodId, ServicePlan};
use crate::world::{Kind, World, is_terminating, key, text};

/// How often controllers are asked in a row: each step of a roll-out takes a few.
const ROUNDS: usize = 50;
/// How long to wait before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How often the node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The node and all it knows.
pub(super) struct Node {
    env: Arc<Environment>,
    api: Api,
    follow: Follow,
    world: World,
    certificates: Certificates,
    pods: Pods,
    gateway_port: u16,
    led: Option<(Vec<ServicePlan>, BTreeSet<PodId>)>,
    /// What was told of which pod as an Event, so that it is told once.
    told: BTreeSet<(String, String)>,
    heartbeat: Instant,
    retry: Option<Instant>,
    settled: watch::Sender<bool>,
}

/// What is planned around pods, from one state of the world.
struct Around {
    inventory: Inventory,
    /// What cannot be used, with the position of its resource among those asked.
    problems: Vec<(Arc<Resource>, FieldError)>,
    sources: Vec<Arc<Resource>>,
}

impl Node {
    /// A node that has learned what the API server holds.
    pub(super) async fn new(
        env: Arc<Environment>,
        api: Api,
        gateway_port: u16,
    ) -> Result<Self, Error> {
        let seconds = env.settings.certificate_seconds;
        let mut node = Self {
            certificates: Certificates::new(seconds, OffsetDateTime::now_utc())?,
            pods: Pods::new(Arc::clone(&env)),
            follow: api.follow(),
            world: World::default(),
            led: None,
            told: BTreeSet::new(),
            heartbeat: Instant::now(),
            retry: None,
            settled: watch::Sender::new(false),
            gateway_port,
            env,
            api,
        };
        loop {
            match node.follow.next().await {
                Event::InSync => break,
                event => node.take(event),
            }
        }
        Ok(node)
    }

    /// Says whether there is nothing left to do but to wait for pods, and whether those are ready or
    /// will not be soon.
    pub(super) fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// Works for as long as the lab lives.
    pub(super) async fn run(mut self) {
        let mut status = self.env.status.subscribe();
        loop {
            status.borrow_and_update();
            self.reconcile().await;
            let due = self.next_due();
            tokio::select! {
                event = self.follow.next() => self.take(event),
                _ = status.changed() => {}
                () = sleep_until(due) => {}
            }
            // What comes together is looked at together.
            while let Ok(event) = timeout(Duration::ZERO, self.follow.next()).await {
                self.take(event);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Put { kind, object } => {
                if let Some(kind) = Kind::find(&kind.group, &kind.kind) {
                    self.world.put(kind, object);
                }
            }
            Event::Gone { kind, object } => {
                if let Some(kind) = Kind::find(&kind.group, &kind.kind) {
                    self.world.remove(kind, &key(&object), text(&object, "/metadata/uid"));
                }
            }
            Event::Away { reason } => tracing::warn!(reason, "the API server is away"),
            Event::Back => tracing::info!("the API server is back"),
            _ => {}
        }
    }

    fn next_due(&self) -> Instant {
        let renewal = self.certificates.next_renewal().map(|then| {
            let wait = Duration::try_from(then - OffsetDateTime::now_utc()).unwrap_or_default();
            Instant::now() + wait
        });
        let all = [Some(self.heartbeat), self.retry, renewal];
        all.into_iter().flatten().min().unwrap_or(self.heartbeat)
    }

    fn facts(&self) -> Facts {
        Facts { now: self.env.now(), v6: self.env.v6, gateway_port: self.gateway_port }
    }

    /// Looks at everything and does what is missing.
    async fn reconcile(&mut self) {
        self.retry = None;
        match self.try_reconcile().await {
            Ok(()) => {
                let settled = self.is_settled();
                self.settled.send_if_modified(|old| std::mem::replace(old, settled) != settled);
            }
            Err(error) => {
                tracing::warn!(%error, "not everything is as it should be; trying again");
                self.retry = Some(Instant::now() + RETRY);
            }
        }
    }

    async fn try_reconcile(&mut self) -> Result<(), Error> {
        let written = self.write().await;
        // Also for the pods that controllers have just made: an Envoy that starts without its
        // certificate takes none of what needs one, now or later.
        self.keep_certificates()?;
        // Pods go on also while the API server is away.
        let around = self.around();
        let services = self.place_pods(&around)?;
        self.lead(services).await?;
        self.say(&around);
        self.report().await?;
        self.warn(around).await?;
        written?;
        self.beat().await
    }

    /// Issues the certificates that are missing or due.
    fn keep_certificates(&mut self) -> Result<(), Error> {
        self.certificates.keep(&self.accounts(), OffsetDateTime::now_utc())
    }

    /// Does what controllers want until they want nothing more.
    async fn write(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            self.keep_certificates()?;
            let mut actions = controllers::actions(&self.world, &self.facts());
            actions.extend(self.certificates.actions(&self.world));
            if actions.is_empty() {
                return Ok(());
            }
            for action in actions {
                self.api.perform(action, &mut self.world).await?;
            }
        }
        Ok(())
    }

    /// The service accounts that there are, or that pods run under.
    fn accounts(&self) -> BTreeSet<Account> {
        let given = self.world.documents(Kind::ServiceAccount).map(|one| {
            let (namespace, name) = key(one);
            Account { namespace, name }
        });
        let used = self.world.pods().map(|(resource, pod)| Account {
            namespace: key(&resource.raw).0,
            name: service_account(pod).to_owned(),
        });
        given.chain(used).collect()
    }

    fn around(&self) -> Around {
        const KINDS: [Kind; 6] = [
            Kind::ImageMap,
            Kind::ServiceAccount,
            Kind::Secret,
            Kind::ConfigMap,
            Kind::Gateway,
            Kind::VirtualService,
        ];
        let bin_dir = self.env.machine().bin_dir();
        let given = self.env.settings.images.iter().cloned();
        let given = given.filter_map(|one| tortie_model::decode(one).ok()?.pop().map(Arc::new));
        let live = KINDS.into_iter().flat_map(|kind| self.world.all(kind).cloned());
        let sources: Vec<Arc<Resource>> = given.chain(live).collect();
        let mut inventory = Inventory::default();
        let mut problems = Vec::new();
        for (position, resource) in sources.iter().enumerate() {
            if let Err(error) = inventory.add(position, resource, &bin_dir) {
                problems.push((Arc::clone(resource), error));
            }
        }
        Around { inventory, problems, sources }
    }

    /// Starts and stops pods, and shows those that run what is around them. Gives the Services.
    fn place_pods(&mut self, around: &Around) -> Result<Vec<ServicePlan>, Error> {
        self.pods.collect();
        let given = |pod: &Value| text(pod, "/spec/nodeName") == NODE_NAME && !is_terminating(pod);
        let wanted: BTreeMap<String, Arc<Resource>> = self
            .world
            .all(Kind::Pod)
            .filter(|pod| given(&pod.raw))
            .map(|pod| (text(&pod.raw, "/metadata/uid").to_owned(), Arc::clone(pod)))
            .collect();
        self.pods.stop_all_but(&wanted);
        let env = Arc::clone(&self.env);
        let machine = env.machine();
        let planner = Planner { machine: &machine, inventory: &around.inventory };
        self.pods.plan_new(&wanted, |pod: &Pod, raw, link| {
            let plan = planner.pod(pod, raw, link)?;
            match plan.proxy.is_some() && env.settings.envoy.is_none() {
                true => Err(FieldError::new("spec.containers", "this machine has no Envoy")),
                false => Ok(plan),
            }
        });
        let services = self.services(&planner);
        let (listeners, _) = around.inventory.ingress.listeners(&services);
        self.show(around, &services, &listeners)?;
        self.pods.start();
        Ok(services)
    }

    fn services(&self, planner: &Planner<'_>) -> Vec<ServicePlan> {
        let pods = self.pods.plans();
        let plan = |(resource, service): (&Arc<Resource>, &_)| {
            planner.service(resource, service, &pods).ok()
        };
        self.world.services().filter_map(plan).collect()
    }

    fn show(
        &self,
        around: &Around,
        services: &[ServicePlan],
        listeners: &[GatewayListener],
    ) -> Result<(), Error> {
        let pods = self.pods.plans();
        let surroundings = Surroundings {
            env: &self.env,
            inventory: &around.inventory,
            certificates: &self.certificates,
            pods: &pods,
            services,
            listeners,
        };
        pods.iter().try_for_each(|pod| match self.pods.is_started(&pod.uid) {
            false => surroundings.prepare(pod),
            true => surroundings.update(pod),
        })
    }

    /// Leads Services to the pods that are ready now.
    async fn lead(&mut self, services: Vec<ServicePlan>) -> Result<(), Error> {
        let ready = self.env.status.borrow().ready();
        let wanted = Some((services, ready));
        if self.led == wanted {
            return Ok(());
        }
        if let Some((services, ready)) = &wanted {
            network::lead(services, ready).await?;
        }
        self.led = wanted;
        Ok(())
    }

    /// Whether every pod of the API server is one that is ready, or will not be soon, and Services
    /// lead where they should.
    fn is_settled(&self) -> bool {
        let status = self.env.status.borrow();
        let led = self.led.as_ref().is_some_and(|(_, ready)| *ready == status.ready());
        let known = |pod: &Value| status.pod(text(pod, "/metadata/uid")).is_some();
        led && status.settled() && self.world.documents(Kind::Pod).all(known)
    }
}

//! What is behind Kubernetes Services, as far as a rule asks.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use smol_str::SmolStr;
use tortie_model::Service;
use tortie_policy::{Backend, ServiceRef, selected_by};

use crate::what::Address;
use crate::world::World;

/// Services and their slices.
#[derive(Default)]
pub(crate) struct Services {
    services: HashMap<ServiceRef, Box<Service>>,
    slices: HashMap<ServiceRef, (ServiceRef, Box<[Backend]>)>,
    /// The slices of each service.
    by_service: HashMap<ServiceRef, BTreeSet<ServiceRef>>,
    /// Services that rules name, and how often.
    named: BTreeMap<ServiceRef, usize>,
    /// Of these, the ones that may have changed.
    touched: BTreeSet<ServiceRef>,
    /// Whether nothing is behind a service without slices, whatever it selects.
    pub(crate) of_slices_alone: bool,
}

impl Services {
    /// A Service is there, or is not any more.
    pub(crate) fn put(&mut self, name: ServiceRef, service: Option<Box<Service>>) {
        match service {
            Some(service) => drop(self.services.insert(name.clone(), service)),
            None => drop(self.services.remove(&name)),
        }
        self.touch(&name);
    }

    /// A slice is there, or is not any more.
    pub(crate) fn put_slice(
        &mut self,
        name: &ServiceRef,
        slice: Option<(ServiceRef, Vec<Backend>)>,
    ) {
        if let Some((service, _)) = self.slices.remove(name) {
            if let Some(slices) = self.by_service.get_mut(&service) {
                slices.remove(name);
                if slices.is_empty() {
                    self.by_service.remove(&service);
                }
            }
            self.touch(&service);
        }
        if let Some((service, backends)) = slice {
            self.by_service.entry(service.clone()).or_default().insert(name.clone());
            self.touch(&service);
            self.slices.insert(name.clone(), (service, backends.into()));
        }
    }

    fn touch(&mut self, service: &ServiceRef) {
        if self.named.contains_key(service) {
            self.touched.insert(service.clone());
        }
    }

    /// One more rule names a service.
    pub(crate) fn employ(&mut self, service: &ServiceRef) {
        *self.named.entry(service.clone()).or_default() += 1;
        self.touched.insert(service.clone());
    }

    /// One rule less names a service.
    pub(crate) fn dismiss(&mut self, service: &ServiceRef) {
        if let Some(count) = self.named.get_mut(service) {
            *count -= 1;
            if *count == 0 {
                self.named.remove(service);
                self.touched.remove(service);
            }
        }
    }

    /// Something about a workload of a namespace has changed.
    pub(crate) fn workload_changed(&mut self, namespace: &SmolStr) {
        let first = ServiceRef { namespace: namespace.clone(), name: SmolStr::default() };
        let named = self.named.range(first..).map(|(service, _)| service);
        for service in named.take_while(|service| service.namespace == *namespace) {
            if !self.by_service.contains_key(service) && self.services.contains_key(service) {
                self.touched.insert(service.clone());
            }
        }
    }

    /// All services without slices that rules name may have changed: the addresses of nodes did.
    pub(crate) fn nodes_changed(&mut self) {
        let named = self.named.keys().filter(|service| !self.by_service.contains_key(*service));
        self.touched.extend(named.cloned());
    }

    /// The services that rules name and that may have changed.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<ServiceRef> {
        std::mem::take(&mut self.touched)
    }

    /// What is behind a service: as its slices say or, where it has none, the workloads it selects.
    pub(crate) fn backends(
        &self,
        service: &ServiceRef,
        world: &World,
        node: impl Fn(&str) -> Vec<std::net::IpAddr>,
    ) -> Vec<Backend> {
        if let Some(slices) = self.by_service.get(service) {
            let slices = slices.iter().filter_map(|name| self.slices.get(name));
            return slices.flat_map(|(_, backends)| backends.iter().cloned()).collect();
        }
        let service_alone = self.services.get(service).filter(|_| !self.of_slices_alone);
        let Some(wire) = service_alone else { return Vec::new() };
        let endpoints = world.endpoints_of(&service.namespace).into_iter();
        let endpoints: Vec<_> = endpoints
            .map(|(mut endpoint, workload)| {
                if let (Address::Node(Some(name)), true) =
                    (&workload.address, endpoint.addresses.is_empty())
                {
                    endpoint.addresses = node(name);
                }
                endpoint
            })
            .collect();
        selected_by(service, wire, &endpoints)
    }
}

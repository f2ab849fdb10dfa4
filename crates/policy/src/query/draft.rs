//! Traffic of which something may still be changed.

use std::net::IpAddr;

use crate::{
    Address, Cluster, Criterion, Flow, HttpAtNetwork, HttpRequest, Principal, Protocol, Request,
    Rule, Side, Tri, Trust, holds,
};

/// Traffic as one place sees it.
#[derive(Debug, Clone)]
pub(super) struct Draft<'c> {
    pub(super) cluster: &'c Cluster,
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: Protocol,
    pub(super) icmp: Option<(u8, Option<u8>)>,
    pub(super) seen: Seen<'c>,
}

/// What the place sees besides addresses and ports.
#[derive(Debug, Clone)]
pub(super) enum Seen<'c> {
    /// Packets.
    Network(HttpAtNetwork),
    /// A connection, with the sender's certificate and the request on it.
    Sidecar { trust: &'c Trust, identity: &'c str, http: Option<(String, String)> },
}

impl<'c> Draft<'c> {
    /// A flow to be changed.
    pub(super) fn of(flow: &Flow<'c>) -> Draft<'c> {
        Draft {
            cluster: flow.cluster,
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            icmp: flow.icmp,
            seen: Seen::Network(flow.http),
        }
    }

    /// The request that a sidecar sees, if it is one that is asked.
    pub(super) fn request(&self) -> Option<Request<'_>> {
        let Seen::Sidecar { trust, identity, http } = &self.seen else { return None };
        Some(Request::new(
            self.cluster,
            trust,
            (self.source, Principal::parse(identity)),
            (self.destination, Principal::Plaintext),
            self.protocol,
            http.as_ref().map(|(method, path)| HttpRequest::new(method, path)),
        ))
    }

    /// The flow that the network sees.
    fn flow(&self) -> Flow<'_> {
        let http = match self.seen {
            Seen::Network(http) => http,
            Seen::Sidecar { .. } => HttpAtNetwork::Deferred,
        };
        Flow {
            cluster: self.cluster,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            icmp: self.icmp,
            http,
        }
    }

    fn asked(&self, rule: &Rule, criterion: Criterion) -> Tri {
        match self.request() {
            Some(request) => holds(rule, criterion, &request),
            None => holds(rule, criterion, &self.flow()),
        }
    }

    /// Whether a criterion of a rule holds for it.
    pub(super) fn holds(&self, rule: &Rule, criterion: Criterion) -> bool {
        self.asked(rule, criterion) == Tri::True
    }

    /// Whether nobody can tell if a criterion of a rule holds for it.
    pub(super) fn is_unknown(&self, rule: &Rule, criterion: Criterion) -> bool {
        self.asked(rule, criterion) == Tri::Unknown
    }

    /// The end of a side.
    pub(super) fn end(&mut self, side: Side) -> &mut Address {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    /// The address of a side.
    pub(super) fn address(&self, side: Side) -> Option<IpAddr> {
        match side {
            Side::Source => self.source.ip,
            Side::Destination => self.destination.ip,
        }
    }
}

//! Facts of which some are hidden.

use std::hash::{DefaultHasher, Hash, Hasher};

use ipnet::IpNet;
use tortie_policy::{
    Facts, IcmpMatch, IpVersion, PathMatch, Peers, Protocol, ServiceRef, Side, Tri,
};

/// Answers like the facts it stands before, but keeps some answers to itself: always the same ones,
/// chosen by the seed.
pub(crate) struct Hidden<'a> {
    pub(crate) facts: &'a dyn Facts,
    pub(crate) seed: u64,
    /// Of 16 questions this many stay without an answer.
    pub(crate) share: u64,
}

impl Hidden<'_> {
    fn answer(&self, question: impl Hash, answer: Tri) -> Tri {
        let mut hasher = DefaultHasher::new();
        (self.seed, question).hash(&mut hasher);
        if hasher.finish() % 16 < self.share { Tri::Unknown } else { answer }
    }
}

impl Facts for Hidden<'_> {
    fn ip_version(&self, version: IpVersion) -> Tri {
        self.answer(("version", version), self.facts.ip_version(version))
    }

    fn protocol(&self, protocol: Protocol) -> Tri {
        self.answer(("protocol", protocol), self.facts.protocol(protocol))
    }

    fn net(&self, side: Side, net: &IpNet) -> Tri {
        self.answer(("net", side, net), self.facts.net(side, net))
    }

    fn port(&self, side: Side, first: u16, last: u16) -> Tri {
        self.answer(("port", side, first, last), self.facts.port(side, first, last))
    }

    fn named_port(&self, side: Side, name: &str) -> Tri {
        self.answer(("named", side, name), self.facts.named_port(side, name))
    }

    fn icmp(&self, icmp: &IcmpMatch) -> Tri {
        self.answer(("icmp", format!("{icmp:?}")), self.facts.icmp(icmp))
    }

    fn service(&self, side: Side, service: &ServiceRef) -> Tri {
        self.answer(("service", side, format!("{service:?}")), self.facts.service(side, service))
    }

    fn peers(&self, side: Side, peers: &Peers) -> Tri {
        self.answer(("peers", side, format!("{peers:?}")), self.facts.peers(side, peers))
    }

    fn http(&self) -> Tri {
        self.answer("http", self.facts.http())
    }

    fn method(&self, method: &str) -> Tri {
        self.answer(("method", method), self.facts.method(method))
    }

    fn path(&self, path: &PathMatch) -> Tri {
        self.answer(("path", format!("{path:?}")), self.facts.path(path))
    }

    fn describe(&self, side: Side) -> String {
        self.facts.describe(side)
    }

    fn describe_traffic(&self) -> String {
        self.facts.describe_traffic()
    }
}

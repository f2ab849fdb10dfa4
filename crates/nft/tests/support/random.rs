//! Random rulesets.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_nft::{
    Chain, ConnectionState, Element, Family, InterfaceMatch, Limit, Match, Rule, Ruleset, Set,
    SetKind, Statement, Verdict, Way,
};
use tortie_policy::Side;

/// Xorshift: small, and good enough to wander about.
pub struct Random(u64);

impl Random {
    /// Seeded from `FUZZ_SEED` or the clock; prints the seed, which a failed test shows.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let clock = now.as_secs() << 30 | u64::from(now.subsec_nanos());
        let seed = number("FUZZ_SEED").unwrap_or(clock) | 1;
        println!("FUZZ_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % limit
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn port(&mut self) -> u16 {
        if self.below(8) == 0 {
            self.of(&[0, 65535])
        } else {
            u16::try_from(self.below(65536)).unwrap()
        }
    }

    fn family(&mut self) -> Family {
        self.of(&Family::BOTH)
    }

    /// Of few distinct ones, so that they meet.
    fn address(&mut self, family: Family) -> IpAddr {
        let low = if self.coin() { u128::from(self.next()) } else { u128::from(self.byte()) };
        match family {
            Family::V4 => {
                let low = u32::try_from(low & 0xffff_ffff).unwrap();
                Ipv4Addr::from_bits(if self.coin() { low } else { 0x0a00_0000 | low & 0xff }).into()
            }
            Family::V6 => {
                let high = self.of(&[0xfd00_u128 << 112, 0, 0xffff_u128 << 112]);
                Ipv6Addr::from_bits(high | low).into()
            }
        }
    }

    pub fn net(&mut self, family: Family) -> IpNet {
        let address = self.address(family);
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = if self.below(4) == 0 { longest } else { self.below(longest + 1) };
        IpNet::new(address, u8::try_from(length).unwrap()).unwrap().trunc()
    }

    /// Nets that do not overlap.
    pub fn nets(&mut self, family: Family, most: usize) -> Vec<IpNet> {
        let mut nets: Vec<IpNet> = Vec::new();
        for _ in 0..=self.below(most) {
            let net = self.net(family);
            if nets.iter().all(|other| !other.contains(&net) && !net.contains(other)) {
                nets.push(net);
            }
        }
        nets
    }

    fn ranges(&mut self) -> Vec<(u16, u16)> {
        let mut bounds: Vec<u16> = (0..2 * (1 + self.below(4))).map(|_| self.port()).collect();
        bounds.sort();
        bounds.dedup();
        if bounds.len() % 2 == 1 {
            let last = bounds.pop().unwrap();
            bounds.extend(if bounds.is_empty() { vec![last, last] } else { vec![] });
        }
        bounds.chunks(2).map(|pair| (pair[0], pair[1])).collect()
    }

    fn interface(&mut self) -> SmolStr {
        let length = self.below(11);
        format!("cali{}", "0123456789a".get(..length).unwrap()).into()
    }

    pub fn element(&mut self, kind: SetKind) -> Element {
        match kind {
            SetKind::Address(family) => Element::Net(self.address(family).into()),
            SetKind::Net(family) => Element::Net(self.net(family)),
            SetKind::AddressPort(family) => {
                let (address, protocol) = (self.address(family), self.of(&[6, 17, 132, 136]));
                Element::AddressPort(address, protocol, self.port())
            }
            SetKind::InterfaceAddress(family) => {
                Element::InterfaceNet(self.interface(), self.address(family).into())
            }
            SetKind::InterfaceNet(family) => {
                Element::InterfaceNet(self.interface(), self.net(family))
            }
            SetKind::Dispatch => {
                let chain = self.of(&["c1", "c2", "c3"]);
                Element::Dispatch(self.interface(), chain.into())
            }
        }
    }

    /// A set whose elements do not overlap.
    pub fn set(&mut self, kind: SetKind) -> Set {
        let mut set = Set { kind, elements: Default::default() };
        for _ in 0..self.below(12) {
            let element = self.element(kind);
            if set.elements.iter().all(|other| !overlap(&other, &element)) {
                set.elements.insert(element);
            }
        }
        set
    }

    /// A ruleset; every set has a rule that looks into it.
    pub fn ruleset(&mut self) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for family in Family::BOTH {
            for (n, kind) in [
                SetKind::Address(family),
                SetKind::Net(family),
                SetKind::AddressPort(family),
                SetKind::InterfaceAddress(family),
                SetKind::InterfaceNet(family),
                SetKind::Dispatch,
            ]
            .into_iter()
            .enumerate()
            {
                ruleset.sets.insert(set_name(n, family), self.set(kind));
            }
        }
        for name in ["c1", "c2", "c3"] {
            let rules: Vec<Rule> = (0..self.below(8)).map(|_| self.rule()).collect();
            ruleset.chains.insert(name.into(), Chain::new(None, rules));
        }
        let rules = (0..self.below(16)).map(|_| self.rule()).collect();
        let base = super::constructs::input(rules).chains.remove("base").unwrap();
        ruleset.chains.insert("base".into(), base);
        ruleset
    }

    pub fn rule(&mut self) -> Rule {
        let family = self.family();
        let mut matches = Vec::new();
        if self.coin() {
            let name = self.interface();
            let name = if self.coin() {
                InterfaceMatch::Exact(name)
            } else {
                InterfaceMatch::Prefix(name)
            };
            matches.push(Match::Interface { way: Way::In, not: self.coin(), name });
        }
        if self.below(4) > 0 {
            matches.push(Match::Family(family));
            for _ in 0..self.below(3) {
                matches.push(self.address_criterion(family));
            }
        }
        self.protocol_criteria(&mut matches);
        if self.below(6) == 0 {
            let states = [ConnectionState::New, ConnectionState::Established];
            matches.push(Match::Connection(states[..=self.below(2)].to_vec()));
        }
        if self.below(6) == 0 {
            matches.push(Match::Limit(Limit { packets: 10, seconds: 60, burst: 5 }));
        }
        // A rule that says nothing has no text.
        let statements = (0..=self.below(3)).map(|_| self.statement()).collect();
        Rule { matches, statements, verdict: self.verdict(), origin: None }
    }

    fn address_criterion(&mut self, family: Family) -> Match {
        let (side, not) = (self.of(&[Side::Source, Side::Destination]), self.coin());
        match self.below(5) {
            0 => Match::AddressSet { side, not, set: set_name(0, family), family },
            1 => Match::AddressSet { side, not, set: set_name(1, family), family },
            2 => Match::AddressPortSet { side, not, set: set_name(2, family), family },
            3 => {
                let nets = self.coin();
                let set = set_name(if nets { 4 } else { 3 }, family);
                Match::InterfaceSourceSet { not, set, family, nets }
            }
            _ => Match::Nets { side, not, nets: self.nets(family, 5) },
        }
    }

    fn protocol_criteria(&mut self, matches: &mut Vec<Match>) {
        let number = self.of(&[1, 6, 17, 58, 132, 136, 99]);
        match self.below(4) {
            0 => {}
            1 => matches.push(Match::Protocol { not: self.coin(), number }),
            _ if matches!(number, 1 | 58) => {
                matches.push(Match::Protocol { not: false, number });
                let code = if self.coin() { Some(self.byte()) } else { None };
                matches.push(Match::Icmp { not: self.coin(), kind: self.byte(), code });
            }
            _ if number != 99 => {
                matches.push(Match::Protocol { not: false, number });
                for _ in 0..=self.below(2) {
                    let side = self.of(&[Side::Source, Side::Destination]);
                    matches.push(Match::Ports { side, not: self.coin(), ranges: self.ranges() });
                }
            }
            _ => {}
        }
    }

    fn statement(&mut self) -> Statement {
        match self.below(3) {
            0 => Statement::Log { prefix: "log ".into(), level: 6 },
            1 => Statement::Nflog { group: 1, prefix: "nflog".into(), length: 128 },
            _ => Statement::Counter,
        }
    }

    fn verdict(&mut self) -> Option<Verdict> {
        // No jumps: chains must not go in circles.
        let verdicts = [Verdict::Accept, Verdict::Drop, Verdict::Reject, Verdict::Return];
        (self.below(5) > 0).then(|| self.of(&verdicts))
    }
}

fn set_name(n: usize, family: Family) -> SmolStr {
    format!("s{n}-{family:?}").to_lowercase().into()
}

/// Whether a set cannot have both.
pub fn overlap(a: &Element, b: &Element) -> bool {
    let meet = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    match (a, b) {
        (Element::Net(a), Element::Net(b)) => meet(a, b),
        (Element::InterfaceNet(n, a), Element::InterfaceNet(m, b)) => n == m && meet(a, b),
        (Element::Dispatch(a, _), Element::Dispatch(b, _)) => a == b,
        (a, b) => a == b,
    }
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap())
}

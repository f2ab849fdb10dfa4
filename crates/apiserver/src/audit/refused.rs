//! Requests of callers who are not known: written down so that guessing is seen, and summed so that
//! whoever guesses cannot fill the log.
//!
//! The first from an address in a minute has a line at once; the others of that minute have one
//! line together, with their number.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::api::Api;
use crate::object::{map, text};
use crate::status::Status;

/// How long refusals are summed for.
const MINUTE: Duration = Duration::from_secs(60);

/// How many addresses are told apart in a minute; what comes from others is summed as one.
const SOURCES: usize = 1000;

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    /// An address; of IPv6 the network that one customer has all addresses of.
    Address(IpAddr),
    /// The Unix socket.
    Socket,
    /// More addresses than are told apart.
    Others,
}

impl Source {
    fn of(address: Option<IpAddr>) -> Source {
        match address.map(|address| address.to_canonical()) {
            None => Source::Socket,
            Some(IpAddr::V6(address)) if !address.is_loopback() => {
                let network = u128::from(address) >> 64 << 64;
                Source::Address(Ipv6Addr::from(network).into())
            }
            Some(address) => Source::Address(address),
        }
    }

    fn shown(&self) -> String {
        match self {
            Source::Address(IpAddr::V6(address)) if !address.is_loopback() => {
                format!("{address}/64")
            }
            Source::Address(address) => address.to_string(),
            Source::Socket => "unix socket".to_owned(),
            Source::Others => "others".to_owned(),
        }
    }
}

/// What was refused since a minute began.
#[derive(Debug)]
struct Minute {
    began: SystemTime,
    /// How many there were of each beside the first.
    more: HashMap<Source, u64>,
}

/// Sums refusals.
#[derive(Debug)]
pub(crate) struct Refused(Mutex<Minute>);

impl Default for Refused {
    fn default() -> Refused {
        Refused(Mutex::new(Minute { began: SystemTime::UNIX_EPOCH, more: HashMap::new() }))
    }
}

impl Refused {
    /// Notes a refusal; gives what is to be written down now.
    pub(crate) fn note(&self, address: Option<IpAddr>, why: &str, now: SystemTime) -> Vec<Value> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = minute.close_if_over(now);
        let mut source = Source::of(address);
        if minute.more.len() >= SOURCES && !minute.more.contains_key(&source) {
            source = Source::Others;
        }
        match minute.more.get_mut(&source) {
            Some(more) => *more = more.saturating_add(1),
            None => {
                let mut event = described(&source, 1);
                map(&mut event).insert("message".into(), why.into());
                events.push(event);
                minute.more.insert(source, 0);
            }
        }
        events
    }

    /// The sums of a minute that is over, or, at the end of the server, of one that is not.
    pub(crate) fn sums(&self, now: SystemTime, at_the_end: bool) -> Vec<Value> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at_the_end { minute.close(now) } else { minute.close_if_over(now) }
    }
}

impl Minute {
    fn close_if_over(&mut self, now: SystemTime) -> Vec<Value> {
        // A clock that was set back begins a new minute.
        let over = now.duration_since(self.began).is_ok_and(|age| age < MINUTE);
        if over { Vec::new() } else { self.close(now) }
    }

    fn close(&mut self, now: SystemTime) -> Vec<Value> {
        self.began = now;
        let ended = std::mem::take(&mut self.more).into_iter();
        ended.filter(|(_, more)| *more > 0).map(|(source, more)| described(&source, more)).collect()
    }
}

fn described(source: &Source, count: u64) -> Value {
    json!({
        "stage": "outcome", "verb": "authenticate", "code": 401, "source": source.shown(),
        "count": count,
    })
}

impl Api {
    /// Notes a request of somebody who is not known.
    pub(crate) fn note_unknown(&self, address: Option<IpAddr>, status: &Status) {
        let now = (self.environment.clock)();
        let why = status.document();
        self.write_down(self.refused.note(address, text(&why, "/message"), now));
    }

    /// Writes down how many there were since the minute began: if it is over, or this is the end.
    pub(crate) fn sum_unknown(&self, at_the_end: bool) {
        self.write_down(self.refused.sums((self.environment.clock)(), at_the_end));
    }

    fn write_down(&self, events: Vec<Value>) {
        let Some(audit) = &self.audit else { return };
        for mut event in events {
            map(&mut event).insert("time".into(), super::stamp(&self.environment).into());
            if let Err(error) = audit.append(&event) {
                tracing::error!(%error, "the audit log cannot be written");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + second)
    }

    fn shown(events: &[Value]) -> Vec<String> {
        let mut all: Vec<String> = events
            .iter()
            .map(|event| format!("{} {}", event["source"].as_str().unwrap(), event["count"]))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_are_summed() {
        let refused = Refused::default();
        let address = |text: &str| Some(text.parse().unwrap());
        let one = address("192.0.2.1");
        let first = refused.note(one, "no token", at(0));
        assert_eq!(shown(&first), ["192.0.2.1 1"]);
        assert_eq!(first[0]["message"], "no token");
        for second in 0..59 {
            assert!(refused.note(one, "", at(second)).is_empty());
        }
        assert_eq!(shown(&refused.note(None, "", at(59))), ["unix socket 1"]);
        // Addresses of one network are one; those written in two ways, too.
        let cases = ["2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1", "2001:db8:0:1::1"];
        let said: Vec<usize> =
            cases.iter().map(|text| refused.note(address(text), "", at(59)).len()).collect();
        assert_eq!(said, [1, 0, 0, 1]);
        assert!(refused.sums(at(59), false).is_empty());
        assert_eq!(shown(&refused.sums(at(60), false)), ["192.0.2.1 60", "2001:db8::/64 1"]);
        // A new minute, and its end before its time.
        assert_eq!(shown(&refused.note(one, "", at(61))), ["192.0.2.1 1"]);
        refused.note(one, "", at(62));
        assert_eq!(shown(&refused.sums(at(62), true)), ["192.0.2.1 1"]);
        refused.note(one, "", at(63));
        refused.note(one, "", at(63));
        // The clock is set back.
        assert_eq!(shown(&refused.note(one, "", at(0))), ["192.0.2.1 1", "192.0.2.1 1"]);
    }

    #[test]
    fn there_is_an_end_to_lines() {
        let refused = Refused::default();
        let mut lines = 0;
        for number in 0..3000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            lines += refused.note(Some(address), "", at(0)).len();
        }
        lines += refused.sums(at(60), false).len();
        assert_eq!(lines, SOURCES + 2);
    }
}

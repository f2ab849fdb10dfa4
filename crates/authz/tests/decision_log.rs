//! What a denial leaves in the log, and what it never does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use common::{ATTACK, BANK, POLICY, SUMMARY, authorizer, http, judge, snapshot, spiffe, tcp, with};
use serde_json::Value;
use tortie_authz::decision_log::{Config, DecisionLog};
use tortie_authz::service::Setup;
use tortie_daemon::log::{Format, subscriber};
use tortie_proto::ext_authz::CheckRequest;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines logged for a request to the database.
fn logged(format: Format, filter: &str, check: &CheckRequest) -> Vec<String> {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = subscriber(format, filter, move || writer.clone(), false).unwrap();
    let database = authorizer("default/database", &[BANK, POLICY]);
    tracing::subscriber::with_default(subscriber, || judge(&database, check));
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn json(check: &CheckRequest) -> Value {
    let lines = logged(Format::Json, "info", check);
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

#[test]
fn a_denial_is_one_line_with_its_reason() {
    let stolen = http(ATTACK, &spiffe("summary"), "PUT", "/v2/keys?value=99999.99");
    let line = json(&stolen);
    for (key, value) in [
        ("message", "denied"),
        ("target", "tortie_authz::decision"),
        ("verdict", "deny"),
        ("code", "PERMISSION_DENIED"),
        ("source", "10.65.0.5:41234"),
        ("principal", "spiffe://cluster.local/ns/default/sa/summary"),
        ("destination", "10.65.0.3:2379"),
        ("method", "PUT"),
        ("path", "/v2/keys"),
        ("tier", "default"),
        ("action", "tier-default"),
        ("request", "17"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    let reason = line["reason"].as_str().unwrap();
    for part in ["certificate of default/summary", "default/attack", "10.65.0.5"] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
    assert!(!line.to_string().contains("99999"), "{line}");
}

#[test]
fn people_read_the_same() {
    let stolen = http(ATTACK, &spiffe("summary"), "PUT", "/v2/keys?value=99999.99");
    let lines = logged(Format::Human, "info", &stolen);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "denied verdict=\"deny\"",
        "source=\"10.65.0.5:41234\"",
        "path=\"/v2/keys\"",
        "certificate of default/summary",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

#[test]
fn what_is_absent_is_left_out() {
    let line = json(&tcp(ATTACK, ""));
    for key in ["principal", "method", "path", "kind", "namespace", "name", "rule", "request"] {
        assert!(line.get(key).is_none(), "{key} in {line}");
    }
    assert_eq!(json(&CheckRequest::default())["source"], "absent");
}

#[test]
fn what_is_allowed_is_not_logged() {
    assert!(logged(Format::Json, "debug", &tcp(SUMMARY, &spiffe("summary"))).is_empty());
    assert!(logged(Format::Json, "error", &tcp(ATTACK, "")).is_empty());
}

#[test]
fn strangers_can_neither_forge_nor_flood() {
    let principal = format!("x\" verdict=\"allow\"\n{{\"level\":\"INFO\"}}{}", "y".repeat(1 << 16));
    let path = format!("/\u{1b}[31m\r\n{}?secret", "z".repeat(1 << 16));
    let hostile = http(ATTACK, &principal, &"\u{7}M".repeat(1 << 10), &path);
    for format in [Format::Json, Format::Human] {
        let lines = logged(format, "info", &hostile);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() < 4096, "{}", lines[0].len());
        assert!(!lines[0].chars().any(char::is_control), "{}", lines[0]);
        assert!(!lines[0].contains("secret"), "{}", lines[0]);
    }
    let line = json(&hostile);
    assert_eq!(line["verdict"], "deny");
    for (_, value) in line.as_object().unwrap() {
        let text = value.as_str().unwrap_or_default();
        assert!(!text.chars().any(char::is_control), "{text}");
    }
}

#[test]
fn the_decision_log_is_limited() {
    let log = |config: Config| {
        let log = Arc::new(DecisionLog::new(config));
        let setup = Setup { log, ..Setup::default() };
        let customer = with(snapshot("default/customer", &[BANK, POLICY]), setup);
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(Format::Json, "info", move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber.unwrap(), || {
            for turn in 0..40 {
                let method = if turn % 2 == 0 { "GET" } else { "POST" };
                judge(&customer, &http(SUMMARY, "", method, "/x?secret"));
            }
        });
        let bytes = captured.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("secret"), "{text}");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let config = |each_second, denied_sample, allowed_sample, format: Option<&str>| Config {
        each_second,
        denied_sample,
        allowed_sample,
        format: format.map(|f| f.parse().unwrap()),
    };
    assert_eq!(log(config(1_000, 1, 0, None)).len(), 20);
    assert_eq!(log(config(1_000, 4, 0, None)).len(), 5);
    assert_eq!(log(config(1_000, 0, 5, None)).len(), 4);
    assert_eq!(log(config(0, 1, 1, None)).len(), 0);
    // What each second may have that it took, begun ones included, with a line for what was left out.
    let start = Instant::now();
    let limited = log(config(3, 1, 0, None)).len();
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap() + 2;
    assert!((3..=seconds * 4).contains(&limited), "{limited} in {seconds} s");
    let lines = log(config(1_000, 1, 0, Some("{verdict} {source} {method} {path} by {tier}")));
    assert!(lines[0].contains("deny 10.65.0.2:41234 POST /x by default"), "{}", lines[0]);
}

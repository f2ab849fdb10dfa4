//! The server is killed, again and again, while clients write over HTTP: what they were told is
//! written is there, what they were not told is whole or not there, and the server comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::path::Path;
use std::sync::mpsc;

use common::http::Api;
use common::process::Process;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WRITERS: usize = 4;

/// How often it is killed; `make soak` does it more often.
fn kills() -> usize {
    std::env::var("TORTIE_KILLS").map_or(30, |number| number.parse().unwrap())
}

/// What a writer writes as a number: all of it follows from the number. Every seventh time it
/// deletes instead.
fn written(writer: usize, number: usize) -> Option<String> {
    let times = 1 + number * 37 % 500;
    (!number.is_multiple_of(7)).then(|| format!("{writer}:{number};").repeat(times))
}

fn path(writer: usize) -> String {
    format!("{MAPS}/w{writer}")
}

/// Writes the next number; says whether it is known to be written.
fn write(api: Api, writer: usize, number: usize) -> bool {
    let Some(text) = written(writer, number) else {
        return api.try_ask("DELETE", &path(writer), None).is_some_and(|code| code == 200);
    };
    let name = format!("w{writer}");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"text": text}});
    let is_new = written(writer, number - 1).is_none();
    let code = if is_new {
        api.try_ask("POST", MAPS, Some(&map))
    } else {
        api.try_ask("PUT", &path(writer), Some(&map))
    };
    match code {
        None => false,
        Some(code) => {
            assert!(code == 200 || code == 201, "writer {writer}, number {number}: {code}");
            true
        }
    }
}

/// Lets clients write until so many writes are known to be made, and kills the server.
fn run(data: &Path, numbers: &mut [usize], enough: usize) {
    let server = Process::start(data, &["--insecure-http"]);
    let api = Api(server.url.strip_prefix("http://").unwrap().parse().unwrap());
    assert_eq!(api.get("/readyz").body, "ok");
    for (writer, number) in numbers.iter_mut().enumerate() {
        check(api, writer, number);
    }
    let (known, heard) = mpsc::channel();
    let writers: Vec<_> = numbers.iter().copied().enumerate().collect();
    let writers: Vec<_> = writers
        .into_iter()
        .map(|(writer, mut number)| {
            let known = known.clone();
            std::thread::spawn(move || {
                while write(api, writer, number + 1) {
                    number += 1;
                    let _ = known.send(());
                }
                number
            })
        })
        .collect();
    for _ in 0..enough {
        heard.recv().unwrap();
    }
    drop(server); // by SIGKILL
    for (number, writer) in numbers.iter_mut().zip(writers) {
        *number = writer.join().unwrap();
    }
}

/// That the last that was known to be written is there, or the one after it. Goes on from there.
fn check(api: Api, writer: usize, number: &mut usize) {
    let answer = api.get(&path(writer));
    let found = match answer.code {
        404 => None,
        _ => Some(answer.ok()["data"]["text"].as_str().unwrap().to_owned()),
    };
    if found != written(writer, *number) {
        *number += 1;
        assert!(found == written(writer, *number), "writer {writer}: {number} or one less");
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let mut numbers = [0; WRITERS];
    for kill in 0..kills() {
        run(data.path(), &mut numbers, 1 + kill * 7 % 40);
    }
    let server = Process::start(data.path(), &["--insecure-http"]);
    let api = Api(server.url.strip_prefix("http://").unwrap().parse().unwrap());
    for (writer, number) in numbers.iter_mut().enumerate() {
        check(api, writer, number);
    }
    api.post(MAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}))
        .ok();
    // All that was written was said before, in lines that are whole but for those of a kill.
    let log = std::fs::read_to_string(data.path().join("audit.log")).unwrap();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    assert!(lines.iter().filter(|line| line.is_null()).count() <= kills());
    for (writer, number) in numbers.iter().enumerate() {
        let name = json!(format!("w{writer}"));
        let said = lines.iter().filter(|line| line["name"] == name && line["stage"] == "intent");
        assert!(said.count() >= *number, "writer {writer}: {number} writes");
    }
}

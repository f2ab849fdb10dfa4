//! Runs the tables under `corpus/http`, whose README describes them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use tortie_policy::{
    Address, Cluster, Facts, HttpRequest, InvalidPath, NormalPath, PathMatch, Principal, Protocol,
    Request, Tri, Trust,
};
use tortie_testkit::table::{self, Row};
use tortie_testkit::workspace;

fn rows<const WIDTH: usize>(name: &str) -> Vec<Row<WIDTH>> {
    table::read(&workspace::root().join("corpus/http").join(name)).unwrap()
}

#[test]
fn normal_forms() {
    for Row { place, cells: [path, want] } in rows("normal.tsv") {
        let normal = NormalPath::parse(&path).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(normal.as_bytes(), want.as_bytes(), "{place}");
        assert_eq!(normal, normal.clone().into_owned(), "{place}");
    }
}

#[test]
fn paths_without_a_safe_normal_form() {
    for Row { place, cells: [path, why] } in rows("refused.tsv") {
        let want = match why.as_str() {
            "start" => InvalidPath::NotAbsolute,
            "escape" => InvalidPath::Escape,
            "twice" => InvalidPath::DoubleEncoding,
            "nul" => InvalidPath::Nul,
            other => panic!("{place}: what is `{other}`?"),
        };
        assert_eq!(NormalPath::parse(&path), Err(want), "{place}");
    }
}

#[test]
fn criteria() {
    let cluster = Cluster::default();
    for Row { place, cells: [kind, rule, path, want] } in rows("criteria.tsv") {
        let normal = NormalPath::parse(&rule).unwrap().into_owned();
        let criterion = match kind.as_str() {
            "exact" => PathMatch::Exact(normal),
            "prefix" => PathMatch::Prefix(normal),
            other => panic!("{place}: what is `{other}`?"),
        };
        let end = || (Address::default(), Principal::Plaintext);
        let http = Some(HttpRequest::new("GET", &path));
        let request = Request::new(&cluster, &Trust::default(), end(), end(), Protocol::TCP, http);
        let found = match request.path(&criterion) {
            Tri::True => "yes",
            Tri::False => "no",
            Tri::Unknown => "unknown",
        };
        assert_eq!(found, want, "{place}");
        assert_eq!(request.invalid_path().is_some(), found == "unknown", "{place}");
    }
}

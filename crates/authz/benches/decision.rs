//! One decision without the transport, by Yao Bank's policies: decoding, judging, answering.
//!
//! `cargo bench -p tortie-authz --bench decision`
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a benchmark")]

#[path = "wire/mod.rs"]
mod envoy;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use prost::Message;
use tortie_authz::grpc::Version;
use tortie_authz::guarded::Mode;
use tortie_authz::service::{Authorizer, Check, Setup};
use tortie_authz::snapshot::{Snapshot, View};
use tortie_authz::source::Source;
use tortie_authz::wire;
use tortie_proto::ext_authz::CheckRequest;

fn authorizer() -> Authorizer {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let loaded = Source { paths: vec![fixtures], recursive: false }.load().unwrap();
    let mode = Mode::Workload(Some("default/database".parse().unwrap()));
    let view = View::new(mode);
    let state = tortie_calc::batch(&loaded.cluster, None);
    let snapshot = Snapshot::nothing(&view).next(&state, &view, None);
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    Authorizer::new(snapshot, Setup::default())
}

fn decision(c: &mut Criterion) {
    let authorizer = authorizer();
    let allowed = envoy::check("10.65.0.2", "summary").encode_to_vec();
    let denied = envoy::check("10.65.0.5", "summary").encode_to_vec();
    c.bench_function("decode", |b| {
        b.iter(|| CheckRequest::decode(black_box(&allowed[..])).unwrap())
    });
    c.bench_function("read", |b| b.iter(|| wire::read(black_box(&allowed)).unwrap()));
    for (name, bytes) in [("allow", &allowed), ("deny", &denied)] {
        c.bench_function(name, |b| b.iter(|| authorizer.check(Version::V3, black_box(bytes))));
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);

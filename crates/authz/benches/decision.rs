//! One decision without the transport, by Yao Bank's policies: decoding, judging, answering.
//!
//! `cargo bench -p tortie-authz --bench decision`
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a benchmark")]

mod wire;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use prost::Message;
use tortie_authz::answer::Detail;
use tortie_authz::service::Authorizer;
use tortie_authz::snapshot::Snapshot;
use tortie_authz::source::Source;
use tortie_policy::Trust;
use tortie_proto::ext_authz::CheckRequest;

fn authorizer() -> Authorizer {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let loaded = Source { paths: vec![fixtures], recursive: false }.load().unwrap();
    let snapshot = Snapshot::new(loaded.cluster, "default/database".parse().unwrap());
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    Authorizer::new(snapshot, Trust::default(), Detail::None)
}

fn decision(c: &mut Criterion) {
    let authorizer = authorizer();
    let allowed = wire::check("10.65.0.2", "summary").encode_to_vec();
    let denied = wire::check("10.65.0.5", "summary").encode_to_vec();
    let decode = |bytes: &[u8]| CheckRequest::decode(bytes).unwrap();
    c.bench_function("decode", |b| b.iter(|| decode(black_box(&allowed))));
    for (name, bytes) in [("allow", &allowed), ("deny", &denied)] {
        let check = decode(bytes);
        c.bench_function(name, |b| b.iter(|| authorizer.judge(black_box(&check))));
        c.bench_function(&format!("{name}, encoded"), |b| {
            b.iter(|| authorizer.judge(black_box(&check)).encode_to_vec());
        });
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);

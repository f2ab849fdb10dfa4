//! What only etcd does: it comes and goes, and others write to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::etcd::{Server, available};
use common::{all, key, next, resource, short, value};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tortie_store::{
    Error, Etcd, EtcdOptions, EtcdUser, Event, Key, List, Object, Resource, Revision, Scope, Store,
    Tls, Watch, When,
};

fn calico(plural: &str) -> Resource {
    Resource::new("projectcalico.org", plural).unwrap()
}

/// Asks etcd by its JSON gateway, which shares nothing with the store under test.
async fn ask(server: &Server, path: &str, body: &str) -> String {
    let address = server.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

async fn foreign_put(server: &Server, key: &[u8], value: &[u8]) {
    let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
    ask(server, "/v3/kv/put", &format!(r#"{{"key":"{key}","value":"{value}"}}"#)).await;
}

async fn foreign_delete(server: &Server, key: &[u8]) {
    let key = STANDARD.encode(key);
    ask(server, "/v3/kv/deleterange", &format!(r#"{{"key":"{key}"}}"#)).await;
}

async fn latest(store: &Etcd, scope: &Scope) -> Vec<Arc<Object>> {
    store.list(&List::latest(scope.clone())).await.unwrap().objects
}

async fn from_now(store: &Etcd, resource: &Resource) -> Watch {
    let scope = all(resource);
    let now = store.list(&List::latest(scope.clone())).await.unwrap().revision;
    store.watch(&scope, now).await.unwrap()
}

#[tokio::test]
async fn calicos_objects_lie_where_calico_looks() {
    if !available() {
        return;
    }
    let server = Server::start();
    let store = server.store().await;
    let policy = br#"{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","namespace":"ns"},"spec":{}}"#;
    let cases = [
        (
            calico("networkpolicies"),
            Some("ns"),
            "/calico/resources/v3/projectcalico.org/networkpolicies/ns/p",
        ),
        (calico("tiers"), None, "/calico/resources/v3/projectcalico.org/tiers/p"),
        (Resource::new("", "pods").unwrap(), Some("ns"), "/tortie/resources/core/pods/ns/p"),
    ];
    for (resource, namespace, path) in cases {
        let mut watch = from_now(&store, &resource).await;
        let key = Key::new(resource.clone(), namespace, "p").unwrap();
        let put = store.put(&key, Bytes::from_static(policy), When::Absent).await.unwrap();
        let body = format!(r#"{{"key":"{}"}}"#, STANDARD.encode(path));
        let answer = ask(&server, "/v3/kv/range", &body).await;
        assert!(answer.contains(&STANDARD.encode(policy)), "{path}: {answer}");
        assert!(answer.contains(&format!("\"mod_revision\":\"{}\"", put.modified)), "{answer}");
        // What others change there is a change like any other, and so is what they delete.
        foreign_put(&server, path.as_bytes(), b"{}").await;
        foreign_delete(&server, path.as_bytes()).await;
        let told = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await];
        assert_eq!(told.each_ref().map(|event| event.key()), [&key, &key, &key]);
        let [first, second, third] = told.map(|event| event.revision().get());
        assert!(put.modified.get() == first && first < second && second < third);
        assert_eq!(store.get(&key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_others_write_is_reported_as_it_is() {
    if !available() {
        return;
    }
    let server = Server::start();
    let store = server.store().await;
    let tiers = calico("tiers");
    let mut watch = from_now(&store, &tiers).await;
    let folder = "/calico/resources/v3/projectcalico.org/tiers";
    let writes: [(&str, &[u8]); 5] = [
        ("/a", b"{\"half"),
        ("/b", b"\xff\xfe"),
        ("/", b"no name"),
        ("/c/d/e", b"too deep"),
        ("/f", b""),
    ];
    for (name, bytes) in writes {
        foreign_put(&server, format!("{folder}{name}").as_bytes(), bytes).await;
    }
    foreign_put(&server, format!("{folder}x/g").as_bytes(), b"of another kind").await;
    let listed = latest(&store, &all(&tiers)).await;
    assert_eq!(listed.len(), writes.len());
    for (name, bytes) in writes {
        let event = next(&mut watch).await;
        assert_eq!(event.object().value, bytes, "{name}");
        assert!(event.key().to_string().ends_with(&format!("tiers{name}")), "{}", event.key());
        assert!(listed.contains(event.object()), "{name}");
        assert_eq!(store.get(event.key()).await.unwrap().as_ref(), Some(event.object()));
    }
    // What was listed can be mended by the same name.
    for object in listed {
        store.delete(&object.key, When::At(object.modified)).await.unwrap();
        assert!(matches!(&*next(&mut watch).await, Event::Delete { last, .. } if *last == object));
    }
    foreign_put(&server, format!("{folder}/\u{fffd}").replace('\u{fffd}', "z").as_bytes(), b"")
        .await;
    assert_eq!(short(&*next(&mut watch).await), "+z=");
}

#[tokio::test]
async fn changes_made_at_once_are_told_together() {
    if !available() {
        return;
    }
    let server = Server::start();
    let store = server.store().await;
    let tiers = calico("tiers");
    let before = from_now(&store, &tiers).await.position();
    let put = |number: usize| {
        let key = format!("/calico/resources/v3/projectcalico.org/tiers/t{number:03}");
        let (key, value) = (STANDARD.encode(key), STANDARD.encode("x"));
        format!(r#"{{"requestPut":{{"key":"{key}","value":"{value}"}}}}"#)
    };
    let puts: Vec<_> = (0..100).map(put).collect();
    ask(&server, "/v3/kv/txn", &format!(r#"{{"success":[{}]}}"#, puts.join(","))).await;
    let mut watch = store.watch(&all(&tiers), before).await.unwrap();
    let first = next(&mut watch).await;
    assert!(watch.position() < first.revision(), "some of it is still to come");
    for _ in 1..100 {
        assert_eq!(next(&mut watch).await.revision(), first.revision());
    }
    assert!(watch.position() >= first.revision());
}

/// Adds one to a number that others add to as well, as one does with compare and swap. An answer
/// that was lost is looked for.
async fn add(store: &Etcd, key: &Key, writer: usize, failed: &mpsc::UnboundedSender<()>) {
    let number = |object: &Object| -> u64 {
        let text = String::from_utf8(object.value.to_vec()).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    loop {
        let current = match store.get(key).await {
            Ok(current) => current.unwrap(),
            Err(Error::Unavailable(_)) => {
                let _ = failed.send(());
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        let next = value(&format!("{} {writer}", number(&current) + 1));
        match store.put(key, next, When::At(current.modified)).await {
            Ok(_) => return,
            Err(Error::Conflict { .. }) => {}
            Err(Error::Uncertain(_) | Error::Unavailable(_)) => {
                let _ = failed.send(());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Kills or pauses etcd until writers have noticed, again and again, then says that it is over.
async fn trouble(
    server: &mut Server,
    failed: &mut mpsc::UnboundedReceiver<()>,
    mut done: watch::Receiver<usize>,
) {
    for round in 0..6 {
        let before = *done.borrow();
        while failed.try_recv().is_ok() {}
        match round % 3 {
            0 => server.signal(Signal::STOP),
            _ => server.kill(),
        }
        failed.recv().await.unwrap();
        match round % 3 {
            0 => server.signal(Signal::CONT),
            _ => server.run(),
        }
        done.wait_for(|done| *done >= before + 20).await.unwrap();
    }
}

/// All changes of one number: each follows from the one before, none is lost, none is twice.
async fn follow(mut watch: Watch, last: Revision) -> Vec<Arc<Event>> {
    let mut told: Vec<Arc<Event>> = vec![];
    while told.last().is_none_or(|event| event.revision() < last) {
        let event = watch.next().await.unwrap();
        if let Some(before) = told.last() {
            assert_eq!(event.previous(), Some(before.object()));
        }
        let number = told.len() + 1;
        assert!(event.object().value.starts_with(format!("{number} ").as_bytes()), "{event:?}");
        told.push(event);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_killed_and_paused_loses_and_doubles_nothing() {
    if !available() {
        return;
    }
    let mut server = Server::start();
    let options = EtcdOptions { timeout: Duration::from_millis(500), ..server.options(None) };
    let one = Arc::new(server.connect(options.clone()).await);
    let two = Arc::new(server.connect(options).await);
    let resource = calico("tiers");
    let key = Key::new(resource.clone(), None, "number").unwrap();
    let start = one.put(&key, value("0 start"), When::Absent).await.unwrap();
    let watches = [
        one.watch(&all(&resource), start.modified).await.unwrap(),
        two.watch(&all(&resource), start.modified).await.unwrap(),
    ];
    let (fail, mut failed) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (count, done) = watch::channel(0);
    let writers: Vec<_> = [&one, &two, &one, &two]
        .into_iter()
        .enumerate()
        .map(|(writer, store)| {
            let (store, key, fail) = (store.clone(), key.clone(), fail.clone());
            let (stop, count) = (stop.clone(), count.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    add(&store, &key, writer, &fail).await;
                    count.send_modify(|done| *done += 1);
                }
            })
        })
        .collect();
    common::soon(trouble(&mut server, &mut failed, done.clone())).await;
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let last = one.get(&key).await.unwrap().unwrap();
    let [first, second] = watches.map(|watch| follow(watch, last.modified));
    let (first, second) = (common::soon(first).await, common::soon(second).await);
    assert_eq!(first, second, "both stores tell the same");
    assert_eq!(first.last().unwrap().object(), &last);
    assert!(first.len() >= *done.borrow(), "each acknowledged addition is there");
    println!("{} additions, {} acknowledged", first.len(), *done.borrow());
}

/// Between a store and etcd, to be cut.
struct Line {
    url: String,
    open: watch::Sender<bool>,
}

impl Line {
    async fn to(server: &Server) -> Line {
        let target = server.url().replace("http://", "");
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = socket.accept().await {
                let (target, mut state) = (target.clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(&target).await else { return };
                    tokio::select! {
                        _ = state.wait_for(|open| !open) => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Line { url, open }
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_a_break_and_ends_if_changes_were_forgotten() {
    if !available() {
        return;
    }
    let server = Server::start();
    let line = Line::to(&server).await;
    let near = server.connect(EtcdOptions::new(vec![line.url.clone()])).await;
    let far = server.store().await;
    let tiers = calico("tiers");
    let name = Key::new(tiers.clone(), None, "t").unwrap();
    let mut watch = from_now(&near, &tiers).await;
    for compact in [false, true] {
        far.put(&name, value("before"), When::Always).await.unwrap();
        assert_eq!(next(&mut watch).await.object().value, "before");
        line.open.send_replace(false);
        far.put(&name, value("meanwhile"), When::Always).await.unwrap();
        let last = far.put(&name, value("after"), When::Always).await.unwrap();
        if compact {
            far.compact(last.modified).await.unwrap();
        }
        line.open.send_replace(true);
        if compact {
            let ended = common::soon(watch.next()).await;
            assert!(matches!(ended, Err(Error::Compacted(_))), "{ended:?}");
        } else {
            assert_eq!(short(&*next(&mut watch).await), "t=before>meanwhile");
            assert_eq!(short(&*next(&mut watch).await), "t=meanwhile>after");
        }
    }
    let mut again = from_now(&near, &tiers).await;
    far.put(&name, value("again"), When::Always).await.unwrap();
    assert_eq!(short(&*next(&mut again).await), "t=after>again");
}

#[tokio::test]
async fn who_watched_before_the_process_began_goes_on() {
    if !available() {
        return;
    }
    let server = Server::start();
    let store = server.store().await;
    let resource = resource("resume");
    let name = key(&resource, "default", "x");
    let first = store.put(&name, value("1"), When::Absent).await.unwrap();
    let second = store.put(&name, value("2"), When::Always).await.unwrap();
    store.put(&name, value("3"), When::Always).await.unwrap();
    drop(store);
    let store = server.store().await;
    let mut watch = store.watch(&all(&resource), first.modified).await.unwrap();
    assert_eq!(short(&*next(&mut watch).await), "x=1>2");
    assert_eq!(short(&*next(&mut watch).await), "x=2>3");
    store.compact(second.modified).await.unwrap();
    let store = server.store().await;
    let gone = store.watch(&all(&resource), first.modified).await;
    assert!(matches!(gone, Err(Error::Compacted(_))), "{gone:?}");
    let mut watch = store.watch(&all(&resource), second.modified).await.unwrap();
    assert_eq!(short(&*next(&mut watch).await), "x=2>3");
}

#[tokio::test]
async fn an_etcd_that_lost_its_state_ends_all_watches() {
    if !available() {
        return;
    }
    let mut server = Server::start();
    let store = server.store().await;
    let resource = resource("lost");
    let name = key(&resource, "default", "x");
    for _ in 0..5 {
        store.put(&name, value("1"), When::Always).await.unwrap();
    }
    let mut watch = from_now(&store, &resource).await;
    let position = watch.position();
    server.kill();
    server.wipe();
    server.run();
    let ended = common::soon(watch.next()).await;
    assert!(matches!(ended, Err(Error::Compacted(_))), "{ended:?}");
    assert_eq!(latest(&store, &all(&resource)).await, vec![]);
    let future = store.watch(&all(&resource), position).await;
    assert!(matches!(future, Err(Error::Future { .. })), "{future:?}");
    let mut watch = from_now(&store, &resource).await;
    store.put(&name, value("2"), When::Absent).await.unwrap();
    assert_eq!(short(&*next(&mut watch).await), "+x=2");
}

#[tokio::test]
async fn a_full_etcd_refuses_writes_and_serves_reads() {
    if !available() {
        return;
    }
    let server = Server::with("http", |_| vec!["--quota-backend-bytes=2000000".into()]);
    let store = server.store().await;
    let resource = resource("full");
    let mut count = 0;
    let refused = loop {
        let name = key(&resource, "default", &count.to_string());
        match store.put(&name, Bytes::from(vec![b'x'; 300_000]), When::Absent).await {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full(_)), "{refused:?}");
    assert_eq!(latest(&store, &all(&resource)).await.len(), count);
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_said() {
    let cases = [
        (vec![], None, "no etcd endpoints"),
        (vec!["127.0.0.1:1"], None, "etcd endpoint `127.0.0.1:1` does not begin with `http://`"),
        (
            vec!["https://127.0.0.1:1"],
            None,
            "etcd endpoint `https://127.0.0.1:1` needs certificates",
        ),
        (vec!["http://a b"], None, "etcd endpoint `http://a b` is not an address"),
        (vec!["http://127.0.0.1:1"], Some(Tls { ca: vec![], identity: None }), "write `https://`"),
        (vec!["http://127.0.0.1:1"], None, "cannot reach etcd: "),
        (vec!["http://127.0.0.1:1", "http://127.0.0.1:2"], None, "etcd"),
    ];
    for (endpoints, tls, expected) in cases {
        let endpoints = endpoints.into_iter().map(str::to_owned).collect();
        let timeout = Duration::from_secs(1);
        let options = EtcdOptions { tls, timeout, ..EtcdOptions::new(endpoints) };
        let error = Etcd::connect(options).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn one_endpoint_of_several_is_enough() {
    if !available() {
        return;
    }
    let server = Server::start();
    let endpoints = vec!["http://127.0.0.1:1".to_owned(), server.url()];
    let store = server.connect(EtcdOptions::new(endpoints)).await;
    let resource = resource("several");
    let mut watch = from_now(&store, &resource).await;
    let name = key(&resource, "default", "x");
    for _ in 0..30 {
        let put = store.put(&name, value("x"), When::Always).await.unwrap();
        assert_eq!(store.get(&name).await.unwrap().unwrap(), put);
        assert_eq!(next(&mut watch).await.revision(), put.modified);
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem().into(), key.serialize_pem().into())
    }
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    if !available() {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, private) = authority.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let server = Server::with("https", |folder: &Path| {
        let file = |name: &str, text: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        vec![
            format!("--cert-file={}", file("cert", &certificate)),
            format!("--key-file={}", file("key", &private)),
            format!("--trusted-ca-file={}", file("ca", authority.pem.as_bytes())),
            "--client-cert-auth".into(),
        ]
    });
    let identity = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
    let tls = Tls { ca: authority.pem.clone().into(), identity: Some(identity) };
    let store = server.connect(server.options(Some(tls.clone()))).await;
    let resource = resource("tls");
    let mut watch = from_now(&store, &resource).await;
    store.put(&key(&resource, "default", "x"), value("1"), When::Absent).await.unwrap();
    assert_eq!(short(&*next(&mut watch).await), "+x=1");
    let strangers = [
        Tls { identity: None, ..tls.clone() },
        Tls { ca: other.pem.into(), ..tls.clone() },
        Tls { ca: b"nothing".to_vec(), ..tls },
    ];
    for tls in strangers {
        let timeout = Duration::from_millis(300);
        let options = EtcdOptions { timeout, ..server.options(Some(tls)) };
        let refused = Etcd::connect(options).await;
        assert!(matches!(refused, Err(Error::Unavailable(_) | Error::Settings(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn users_are_known_by_their_password() {
    if !available() {
        return;
    }
    let server = Server::start();
    server.store().await;
    let as_user = |password: Option<&str>| {
        let user = |password: &str| EtcdUser { name: "ada".into(), password: password.into() };
        EtcdOptions { user: password.map(user), ..server.options(None) }
    };
    let named = |name| Key::new(calico("tiers"), None, name).unwrap();
    // A password that nobody asks for does no harm.
    let open = Etcd::connect(as_user(Some("first"))).await.unwrap();
    open.put(&named("a"), value("1"), When::Absent).await.unwrap();

    server.add_users("first");
    for (password, want) in [(None, "user name is empty"), (Some("guess"), "invalid user ID")] {
        let refused = Etcd::connect(as_user(password)).await.unwrap_err().to_string();
        assert!(refused.contains(want) && !refused.contains("guess"), "{refused}");
    }
    let store = Etcd::connect(as_user(Some("first"))).await.unwrap();
    let mut watch = from_now(&store, &calico("tiers")).await;
    // Every change of users makes older tokens worthless, and so does a new password.
    for (name, words) in [("b", "user add eve:x"), ("c", "role add more"), ("d", "user delete eve")]
    {
        server.as_root(words);
        store.put(&named(name), value("2"), When::Absent).await.unwrap();
        assert!(store.get(&named("a")).await.unwrap().is_some());
        assert_eq!(short(&*next(&mut watch).await), format!("+{name}=2"));
    }
}

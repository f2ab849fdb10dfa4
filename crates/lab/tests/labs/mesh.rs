//! Sidecars: mutual TLS, certificates and their rotation, and an Envoy that dies.

use crate::harness::{
    INJECTED, Place, SHORT, eventually, kill, outsider, pod, service, text, tree, web,
};

/// A server and a client in the mesh, and a client outside of it.
fn bank() -> String {
    INJECTED.to_owned()
        + &web("server")
        + &service("server", "server", "")
        + &service("dual", "server", ", ipFamilyPolicy: RequireDualStack")
        + &pod("client", "idle", "")
        + &outsider("stranger")
}

#[test]
fn strict_sidecars_serve_their_mesh_only() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &bank(), &[]);
    for address in ["http://server", "-6 http://dual", "http://10.65.0.2"] {
        let answer = place.curl("x", "client", address);
        assert!(answer.starts_with("server "), "{address}: {answer}");
    }
    assert_eq!(place.curl("x", "stranger", "http://server"), "failed 56", "reset");
    // The sidecar's own ports: not from outside, and from inside they lead nowhere.
    for port in [15000, 15001, 15006] {
        let outside = format!("{SHORT} http://10.65.0.2:{port}");
        assert_eq!(place.curl("x", "stranger", &outside), "failed 28", "{outside}");
        for host in ["10.65.0.2", "127.0.0.1"] {
            let inside = format!("http://{host}:{port}");
            let answer = place.curl("x", "server", &inside);
            assert!(answer.starts_with("failed "), "{inside}: {answer}");
        }
    }
}

#[test]
fn permissive_sidecars_serve_plaintext_too() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &bank(), &["--mtls", "permissive"]);
    assert!(place.curl("x", "client", "http://server").starts_with("server "));
    assert!(place.curl("x", "stranger", "http://server").starts_with("server "));
    assert!(place.curl("x", "stranger", "-6 http://dual").starts_with("server "));
}

/// Without a rule that tracks connections from the start, the first packet of an open connection
/// after a policy came would be new to the node, and lost.
#[test]
fn a_policy_in_the_node_spares_open_connections() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &bank(), &[]);
    assert!(place.curl("x", "client", "http://server").starts_with("server "));
    place.on_node(
        "x",
        "nft add table inet later; nft add chain inet later f \
         \"{ type filter hook forward priority 1; }\"; \
         nft add rule inet later f ct state new drop",
    );
    assert!(place.curl("x", "client", "http://server").starts_with("server "), "over the pool");
    let fresh = place.curl("x", "stranger", &format!("{SHORT} http://server"));
    assert_eq!(fresh, "failed 28", "what is new meets silence");
}

#[test]
fn an_envoy_that_dies_comes_back_and_is_never_passed_by() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &bank(), &[]);
    let envoys = |place: &Place| -> Vec<u32> {
        let all = tree(place.init("x")).into_iter().map(|process| process.pid);
        let is_envoy = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "envoy\n")
        };
        all.filter(is_envoy).collect()
    };
    let before = envoys(&place);
    assert_eq!(before.len(), 2);
    before.iter().for_each(|pid| kill("-9", *pid));
    let stolen = place.sh(
        "x",
        "stranger",
        "for i in $(seq 30); do curl -s --max-time 2 http://10.65.0.2; done; true",
    );
    assert_eq!(stolen, "", "plaintext never reaches the server");
    eventually("the sidecars' return", || {
        place.curl("x", "client", "http://server").starts_with("server ")
    });
    eventually("the sidecar in the status", || {
        place.container("x", "server", "istio-proxy")["ready"] == true
    });
    assert_eq!(place.container("x", "server", "istio-proxy")["restarts"], 1);
    assert_eq!(place.container("x", "server", "main")["restarts"], 0);
    assert!(envoys(&place).iter().all(|pid| !before.contains(pid)));
}

#[test]
fn certificates_are_renewed_everywhere_before_they_end() {
    let Some(mut place) = Place::new() else { return };
    let volumes = "  volumes: [{name: certs, secret: {secretName: istio.server, \
                   items: [{key: cert-chain.pem, path: chain.pem}, \
                   {key: key.pem, path: key.pem, mode: 0400}]}}]\n---\n";
    let mounting = outsider("thief").replace(
        "image: idle}]\n---\n",
        &format!(
            "image: idle, volumeMounts: [{{name: certs, mountPath: /etc/certs}}]}}]\n{volumes}"
        ),
    );
    place.up("x", &(bank() + &mounting), &["--cert-ttl", "12s"]);
    assert_eq!(place.sh("x", "thief", "stat -L -c %a /etc/certs/key.pem"), "400");
    assert_eq!(place.sh("x", "thief", "touch /etc/certs/x || ls /etc/certs"), "chain.pem\nkey.pem");

    let mounted = place.sh("x", "thief", "cat /etc/certs/chain.pem");
    let served = served(&place);
    assert!(mounted.starts_with("-----BEGIN CERTIFICATE-----"), "{mounted}");
    // More than a lifetime's worth of requests, each of which must succeed. Renewal is six seconds
    // before the end, and may be late by most of that.
    let mut renewals = 0;
    let mut last = mounted;
    eventually("three renewals", || {
        assert!(place.curl("x", "client", "http://server").starts_with("server "));
        let now = place.sh("x", "thief", "cat /etc/certs/chain.pem");
        renewals += u32::from(now != last);
        last = now;
        renewals == 3
    });
    eventually("Envoy's new certificate", || self::served(&place) != served);
    // The next renewal is not before six seconds.
    let stolen = "-k --cert /etc/certs/chain.pem --key /etc/certs/key.pem https://server:80";
    let answer = place.curl("x", "thief", stolen);
    assert!(answer.starts_with("server "), "the mounted pair fits together: {answer}");
}

/// What the server's Envoy says of its certificates.
fn served(place: &Place) -> String {
    let pods = std::fs::read_dir(place.state().join("x/pods")).unwrap();
    let sockets = pods.map(|pod| pod.unwrap().path().join("run/admin.sock"));
    let mut answers: Vec<String> = sockets
        .filter(|socket| socket.exists())
        .map(|socket| {
            let curl = std::process::Command::new("curl")
                .args(["-s", "http://envoy/certs", "--unix-socket"])
                .arg(socket)
                .output();
            let certs = text(&curl.unwrap().stdout);
            let serials = certs.lines().filter(|line| line.contains("serial_number"));
            serials.map(str::trim).collect()
        })
        .collect();
    answers.sort();
    answers.concat()
}

#[test]
fn the_gateway_serves_the_host() {
    let Some(mut place) = Place::new() else { return };
    let manifests = bank()
        + "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: \
           {servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]}\n---\n\
           apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: \
           {hosts: [bank.example], gateways: [g], http: [{match: [{uri: {prefix: /in}}], \
           route: [{destination: {host: server}}]}]}\n";
    let printed = place.up("x", &manifests, &[]);
    let url =
        printed.lines().find_map(|line| line.strip_prefix("GATEWAY_URL=")).unwrap().to_owned();
    let get = |path: &str, host: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "-w", "%{http_code}", "-H", &format!("host: {host}")]);
        text(&curl.arg(format!("{url}{path}")).output().unwrap().stdout)
    };
    eventually("the way in", || {
        let served = get("/in", "bank.example");
        served.starts_with("server ") && served.ends_with("200")
    });
    assert!(get("/out", "bank.example").ends_with("404"));
    assert!(get("/in", "other.example").ends_with("404"));
    // The port is taken by now.
    let port = url.rsplit(':').next().unwrap();
    let file = place.file("again.yaml", &(crate::harness::images() + &manifests));
    let error = place.fails("y", &["up", "-f", &file, "--gateway-port", port], 3);
    assert!(
        error.contains(&format!("gateway port {port}: ")) && error.contains("hint: "),
        "{error}"
    );
}

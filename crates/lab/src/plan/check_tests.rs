//! Plans of small manifests, and what is said of broken ones.

use std::path::Path;

use tortie_client::files::load_text;

use super::*;

fn plan(text: &str) -> Result<Checked, Vec<String>> {
    let manifests = load_text("m.yaml", text.as_bytes()).unwrap();
    let images = load_text(
        "i.yaml",
        b"apiVersion: tortie.dev/v1\nkind: ImageMap\nmetadata: {name: i}\n\
          images: [{image: app, command: [serve]}]\n",
    )
    .unwrap();
    let machine = Machine {
        executable: Path::new("/opt/bin/tortie"),
        v6: true,
        find: &|name| (name != "absent").then(|| format!("/usr/bin/{name}").into()),
    };
    check(&machine, &manifests, &images)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The hosts file of a pod.
fn hosts(plan: &Checked, index: usize) -> String {
    let pod = &plan.pods[index];
    crate::plan::hosts(&pod.id, &pod.link.addresses, &plan.services)
}

/// A pod with one container of image `app`, and more lines of its spec.
fn pod(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\n\
         spec:\n  containers: [{{name: c, image: app, ports: [{{name: web, containerPort: 8080}}]}}]\
         \n{more}\n---\n"
    )
}

const INJECTED: &str = "apiVersion: v1\nkind: Namespace\n\
                        metadata: {name: default, labels: {istio-injection: enabled}}\n---\n";

fn service(name: &str, app: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {app}}}, ports: [{port}]}}\n---\n"
    )
}

#[test]
fn deployments_become_pods_with_addresses_and_names() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  \
                replicas: 2\n  template:\n    metadata: {labels: {app: web}}\n    \
                spec: {containers: [{name: c, image: app}]}\n---\n";
    let plan = plan(&(text.to_owned() + &service("web", "web", "{port: 80, targetPort: 8080}")));
    let plan = plan.unwrap();
    let ids: Vec<_> = plan.pods.iter().map(|pod| pod.id.to_string()).collect();
    assert_eq!(ids, ["default/web-0", "default/web-1"]);
    assert_eq!(plan.pods[1].link.addresses[0].to_string(), "10.65.0.3");
    assert!(hosts(&plan, 0).contains("10.96.0.1 web web.default "), "{}", hosts(&plan, 0));
    let ready = plan.pods.iter().map(|pod| pod.id.clone()).collect();
    let targets = plan.services[0].targets(0, "10.96.0.1".parse().unwrap(), &ready);
    let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["10.65.0.2:8080", "10.65.0.3:8080"]);
}

#[test]
fn ports_by_name_and_pods_that_are_not_ready() {
    let text = pod("a", "") + &pod("b", "") + &service("s", "a", "{port: 80, targetPort: web}");
    let plan = plan(&text).unwrap();
    let service = &plan.services[0];
    let targets = |ready: &[usize]| {
        let ready = ready.iter().map(|index| plan.pods[*index].id.clone()).collect();
        service.targets(0, service.addresses[0], &ready)
    };
    assert_eq!(targets(&[0, 1])[0].to_string(), "10.65.0.2:8080");
    assert!(targets(&[1]).is_empty());
}

#[test]
fn headless_services_resolve_to_pods() {
    let headless = service("s", "a", "{port: 80}").replace("spec: {", "spec: {clusterIP: None, ");
    let plan = plan(&(pod("a", "") + &headless)).unwrap();
    assert!(hosts(&plan, 0).contains("10.65.0.2 s s.default "), "{}", hosts(&plan, 0));
}

#[test]
fn sidecars_go_where_they_are_asked_for() {
    let refused = pod("b", "").replace(
        "labels: {app: b}",
        "labels: {app: b}, annotations: {sidecar.istio.io/inject: \"false\"}",
    );
    let mixed = service("s", "a", "{port: 80}");
    let plan = plan(&(INJECTED.to_owned() + &pod("a", "") + &refused + &mixed)).unwrap();
    let sidecars: Vec<_> = plan.pods.iter().map(PodPlan::has_sidecar).collect();
    assert_eq!(sidecars, [true, false]);
    assert!(plan.services[0].meshed());
    let pods: Vec<&PodPlan> = plan.pods.iter().collect();
    let strict = tortie_mesh::envoy::MutualTls::Strict;
    let sidecar = crate::plan::sidecar_proxy(pods[0], strict, &pods, &plan.services).unwrap();
    let discovery = format!("{:?}", sidecar.discovery().unwrap());
    assert!(discovery.contains("10.96.0.1"), "Services of the mesh are reached under TLS");
    assert!(!discovery.contains("10.65.0.3"), "pods outside of it are not");
}

#[test]
fn what_is_used_but_not_given_is_added() {
    let plan = plan(&pod("a", "  serviceAccountName: teller")).unwrap();
    let names: Vec<_> = plan.documents.iter().map(|one| one["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["default", "teller", "a"]);
}

#[test]
fn environments_come_from_secrets_and_config_maps() {
    let given = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n\
                  stringData: {password: hunter2}\n---\n\
                  apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {color: red}\n---\n";
    let with_env = pod("a", "").replace(
        "image: app",
        "image: app, env: [{name: P, valueFrom: {secretKeyRef: {name: s, key: password}}}, \
         {name: Q, valueFrom: {configMapKeyRef: {name: c, key: color}}}]",
    );
    let plan = plan(&(given.to_owned() + &with_env)).unwrap();
    let env = &plan.pods[0].containers[0].env;
    assert_eq!((&*env["P"], &*env["Q"]), ("hunter2", "red"));
}

#[test]
fn a_gateway_needs_an_envoy() {
    let text = pod("a", "")
        + &service("s", "a", "{port: 80, targetPort: web}")
        + "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
           spec: {servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]}\n---\n\
           apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
           spec: {hosts: ['*'], gateways: [g], http: [{route: [{destination: {host: s}}]}]}\n";
    assert!(plan(&text).unwrap().needs_envoy);
    let errors = plan(&text.replace("host: s}", "host: t}")).unwrap_err();
    assert!(errors[0].contains("no Service `t`"), "{errors:?}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let volume = |secret: &str, mount: &str| {
        pod("a", &format!("  volumes: [{{name: v, secret: {{secretName: {secret}}}}}]"))
            .replace("image: app", &format!("image: app, volumeMounts: [{mount}]"))
    };
    let mount = "{name: v, mountPath: /etc/certs}";
    for (text, want) in [
        (pod("a", "").replace("image: app", "image: other"), "no local command stands for image"),
        (pod("a", "").replace("image: app", "image: app, command: [absent]"), "`absent` is not on"),
        (pod("a", "").replace("name: c,", "name: istio-proxy,"), "part of the sidecar"),
        (
            pod("a", "")
                .replace("{name: c, image: app, ports: [{name: web, containerPort: 8080}]}", ""),
            "spec.containers: must not be empty",
        ),
        (pod("a", "  hostNetwork: true"), "spec.hostNetwork"),
        (pod("a", "  restartPolicy: Sometimes"), "spec.restartPolicy: `Sometimes`"),
        (pod("a", "  volumes: [{name: v, hostPath: {path: /}}]"), "spec.volumes[0]"),
        (volume("none", mount), "namespace `default` has no Secret `none`"),
        (volume("istio.default", "{name: w, mountPath: /x}"), "the pod has no volume `w`"),
        (service("s", "a", "{port: 0}"), "`0` is not a port"),
        (service("s", "a", "{port: 1, protocol: SCTP}"), "TCP and UDP only"),
        (
            service("s", "a", "{port: 1}").replace("spec: {", "spec: {type: ExternalName, "),
            "ExternalName",
        ),
    ] {
        let errors = plan(&text).expect_err(want);
        assert!(errors.iter().any(|e| e.contains(want)), "{want}: {errors:?}");
        assert!(errors[0].starts_with("m.yaml: document 1 ("), "{errors:?}");
    }
    assert!(plan(&volume("istio.default", mount)).is_ok());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = pod("a", "").replace("image: app", "image: x") + &service("s", "a", "{port: 0}");
    let errors = plan(&text).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
}

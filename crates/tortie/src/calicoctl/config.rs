//! Which datastore calicoctl means: its configuration file if there is one, else the environment.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tortie_store::EtcdUser;

use crate::output::Failure;

/// The configuration file that is read if none is named and there is one.
pub(crate) const DEFAULT_FILE: &str = "/etc/calico/calicoctl.cfg";

/// Reads a variable of the environment.
pub(crate) type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where the resources are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datastore {
    /// Behind a Kubernetes API.
    Kubernetes(Kubernetes),
    /// In etcd itself.
    Etcd(Etcd),
}

/// How to reach a Kubernetes API. Without anything, as Tortie's own commands find it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Kubernetes {
    /// A file of connections.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The text of such a file, which then counts instead.
    pub(crate) inline: Option<String>,
    /// The one of its contexts that is meant.
    pub(crate) context: Option<String>,
}

/// How to reach etcd.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Etcd {
    /// Its members.
    pub(crate) endpoints: Vec<String>,
    /// The authority that signed their certificates.
    pub(crate) authority: Option<Pem>,
    /// Our own certificate and its key.
    pub(crate) identity: Option<(Pem, Pem)>,
    /// Who we are, if it asks.
    pub(crate) user: Option<EtcdUser>,
}

/// PEM, somewhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pem {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text(String),
}

/// Does not show what may be a key.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Text(_) => f.write_str("inline"),
        }
    }
}

impl Pem {
    /// The text.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Pem::Text(text) => Ok(text.clone().into_bytes()),
            Pem::File(path) => std::fs::read(path).map_err(|error| {
                Failure::unreachable(format!("etcd: cannot read `{}`: {error}", path.display()))
            }),
        }
    }
}

/// A configuration file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    spec: BTreeMap<String, Value>,
}

/// Every field of `spec`, with the variable of the environment that has the same meaning, if there is
/// one: keys are not taken from the environment.
const FIELDS: [(&str, Option<&str>); 24] = [
    ("datastoreType", Some("DATASTORE_TYPE")),
    ("etcdEndpoints", Some("ETCD_ENDPOINTS")),
    ("etcdDiscoverySrv", Some("ETCD_DISCOVERY_SRV")),
    ("etcdUsername", Some("ETCD_USERNAME")),
    ("etcdPassword", Some("ETCD_PASSWORD")),
    ("etcdKeyFile", Some("ETCD_KEY_FILE")),
    ("etcdCertFile", Some("ETCD_CERT_FILE")),
    ("etcdCACertFile", Some("ETCD_CA_CERT_FILE")),
    ("etcdKey", None),
    ("etcdCert", None),
    ("etcdCACert", None),
    ("kubeconfig", Some("KUBECONFIG")),
    ("kubeconfigInline", None),
    ("k8sAPIEndpoint", Some("K8S_API_ENDPOINT")),
    ("k8sKeyFile", Some("K8S_KEY_FILE")),
    ("k8sCertFile", Some("K8S_CERT_FILE")),
    ("k8sCAFile", Some("K8S_CA_FILE")),
    ("k8sAPIToken", Some("K8S_API_TOKEN")),
    ("k8sInsecureSkipTLSVerify", Some("K8S_INSECURE_SKIP_TLS_VERIFY")),
    ("k8sCurrentContext", Some("K8S_CURRENT_CONTEXT")),
    // These say how Calico's own client works, and mean nothing here.
    ("k8sDisableNodePoll", None),
    ("usePodCIDR", None),
    ("k8sClientQPS", None),
    ("calicoAPIGroup", None),
];

/// The fields that say something, as text.
type Fields = BTreeMap<&'static str, String>;

/// The datastore that a file or the environment names. A context given on the command line counts
/// before both.
pub(crate) fn datastore(
    file: &Path,
    context: Option<&str>,
    variable: Variable<'_>,
) -> Result<Datastore, Failure> {
    let mut fields = match std::fs::read(file) {
        Ok(text) => of_file(file, &text)?,
        Err(error) if error.kind() == ErrorKind::NotFound && file == Path::new(DEFAULT_FILE) => {
            of_environment(variable)
        }
        Err(error) => {
            let failure = format!("cannot read config file: {}: {error}", file.display());
            return Err(Failure::invalid(failure));
        }
    };
    if let Some(context) = context {
        fields.insert("k8sCurrentContext", context.to_owned());
    }
    chosen(&fields, variable)
}

fn of_environment(variable: Variable<'_>) -> Fields {
    let read = |name: &str| variable(&format!("CALICO_{name}")).or_else(|| variable(name));
    let fields = FIELDS.iter().filter_map(|(field, name)| Some((*field, read((*name)?)?)));
    fields.filter(|(_, value)| !value.is_empty()).collect()
}

fn of_file(file: &Path, text: &[u8]) -> Result<Fields, Failure> {
    let fail = |why: String| Failure::invalid(format!("config file: {}: {why}", file.display()));
    let document = tortie_client::document(text).map_err(fail)?;
    let document: Document =
        serde_json::from_value(document).map_err(|error| fail(error.to_string()))?;
    if document.api_version != "projectcalico.org/v3" || document.kind != "CalicoAPIConfig" {
        let is = format!("{} {}", document.api_version, document.kind);
        return Err(fail(format!("`{is}` is not projectcalico.org/v3 CalicoAPIConfig")));
    }
    let mut fields = Fields::new();
    for (name, value) in document.spec {
        let Some((known, _)) = FIELDS.iter().find(|(known, _)| *known == name) else {
            return Err(fail(format!("spec.{name}: unknown field")));
        };
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => drop(fields.insert(known, text)),
            other => drop(fields.insert(known, other.to_string())),
        }
    }
    Ok(fields)
}

fn chosen(fields: &Fields, variable: Variable<'_>) -> Result<Datastore, Failure> {
    let has = |field: &str| fields.contains_key(field);
    match fields.get("datastoreType").map(String::as_str) {
        Some("etcdv3") => etcd(fields).map(Datastore::Etcd),
        None if has("etcdEndpoints") => etcd(fields).map(Datastore::Etcd),
        Some("kubernetes") | None => Ok(Datastore::Kubernetes(kubernetes(fields, variable))),
        Some(other) => {
            let failure = format!("unknown datastore type: `{other}`");
            Err(Failure::invalid(failure).hint("it is `kubernetes` or `etcdv3`"))
        }
    }
}

fn etcd(fields: &Fields) -> Result<Etcd, Failure> {
    if fields.contains_key("etcdDiscoverySrv") {
        let failure = Failure::invalid("etcd: `etcdDiscoverySrv` is not supported");
        return Err(failure.hint("name the endpoints: ETCD_ENDPOINTS, or `etcdEndpoints`"));
    }
    let endpoints = fields.get("etcdEndpoints").map(String::as_str).unwrap_or_default();
    let endpoints: Vec<String> =
        endpoints.split(',').map(str::trim).filter(|e| !e.is_empty()).map(str::to_owned).collect();
    if endpoints.is_empty() {
        let failure = Failure::invalid("etcd: no endpoints are given");
        return Err(failure.hint("set ETCD_ENDPOINTS, or `etcdEndpoints` in the config file"));
    }
    let pem = |text: &str, file: &str| {
        let text = fields.get(text).cloned().map(Pem::Text);
        text.or_else(|| fields.get(file).map(|file| Pem::File(file.into())))
    };
    let identity = match (pem("etcdCert", "etcdCertFile"), pem("etcdKey", "etcdKeyFile")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(Failure::invalid("etcd: a certificate and its key belong together")),
    };
    let text = |field: &str| fields.get(field).cloned();
    let user = match (text("etcdUsername"), text("etcdPassword")) {
        (Some(name), Some(password)) => Some(EtcdUser { name, password }),
        (None, None) => None,
        _ => return Err(Failure::invalid("etcd: a user's name and its password belong together")),
    };
    Ok(Etcd { endpoints, authority: pem("etcdCACert", "etcdCACertFile"), identity, user })
}

fn kubernetes(fields: &Fields, variable: Variable<'_>) -> Kubernetes {
    let context = fields.get("k8sCurrentContext").cloned();
    let inline = fields.get("kubeconfigInline").cloned();
    if inline.is_some() {
        return Kubernetes { kubeconfig: None, inline, context };
    }
    if let Some(kubeconfig) = fields.get("kubeconfig") {
        return Kubernetes { kubeconfig: Some(kubeconfig.into()), inline, context };
    }
    if let Some(endpoint) = fields.get("k8sAPIEndpoint") {
        return Kubernetes {
            inline: Some(kubeconfig_of(endpoint, fields)),
            ..Kubernetes::default()
        };
    }
    // As Calico does, but where Tortie's own variable names a server.
    let home = variable("HOME").filter(|_| variable("TORTIE_SERVER").is_none());
    let usual = home.map(|home| Path::new(&home).join(".kube/config")).filter(|file| file.exists());
    Kubernetes { kubeconfig: usual, inline, context }
}

/// The kubeconfig, as JSON, that says what the fields of the connection say.
fn kubeconfig_of(endpoint: &str, fields: &Fields) -> String {
    let pick = |pairs: &[(&str, &str)]| -> Map<String, Value> {
        let known = pairs.iter().filter_map(|(field, key)| Some((*key, fields.get(*field)?)));
        known.map(|(key, value)| (key.to_owned(), value.as_str().into())).collect()
    };
    let mut cluster = pick(&[("k8sCAFile", "certificate-authority")]);
    cluster.insert("server".into(), endpoint.into());
    if fields.get("k8sInsecureSkipTLSVerify").is_some_and(|value| value == "true") {
        cluster.insert("insecure-skip-tls-verify".into(), true.into());
    }
    let user = pick(&[
        ("k8sCertFile", "client-certificate"),
        ("k8sKeyFile", "client-key"),
        ("k8sAPIToken", "token"),
    ]);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "calicoctl",
        "clusters": [{"name": "calicoctl", "cluster": cluster}],
        "contexts": [{"name": "calicoctl", "context": {"cluster": "calicoctl", "user": "calicoctl"}}],
        "users": [{"name": "calicoctl", "user": user}],
    });
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Datastore, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = file.map_or(DEFAULT_FILE.into(), |text| {
            let path = folder.path().join("calicoctl.cfg");
            std::fs::write(&path, text).unwrap();
            path
        });
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        datastore(&path, None, &variable).map_err(|failure| format!("{failure:?}"))
    }

    fn etcd_at(endpoints: &[&str]) -> Etcd {
        let endpoints = endpoints.iter().copied().map(str::to_owned).collect();
        Etcd { endpoints, ..Etcd::default() }
    }

    const HEAD: &str =
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n";

    #[test]
    fn the_environment_says_where() {
        let etcd = with(
            None,
            &[("DATASTORE_TYPE", "etcdv3"), ("ETCD_ENDPOINTS", "http://a:1, http://b:2")],
        );
        assert_eq!(etcd, Ok(Datastore::Etcd(etcd_at(&["http://a:1", "http://b:2"]))));
        let implied = with(None, &[("ETCD_ENDPOINTS", "http://a:1")]);
        assert_eq!(implied, Ok(Datastore::Etcd(etcd_at(&["http://a:1"]))));
        let prefixed = with(
            None,
            &[
                ("DATASTORE_TYPE", "etcdv3"),
                ("CALICO_DATASTORE_TYPE", "kubernetes"),
                ("KUBECONFIG", "/k"),
            ],
        );
        let kubeconfig = Some("/k".into());
        let want = Kubernetes { kubeconfig, ..Kubernetes::default() };
        assert_eq!(prefixed, Ok(Datastore::Kubernetes(want)));
        let nothing = with(None, &[("HOME", "/nonexistent")]);
        assert_eq!(nothing, Ok(Datastore::Kubernetes(Kubernetes::default())));
    }

    #[test]
    fn a_file_counts_alone() {
        let text = format!(
            "{HEAD}  datastoreType: etcdv3\n  etcdEndpoints: https://a:1\n  \
                            etcdKeyFile: /key\n  etcdCertFile: /cert\n  etcdCACertFile: /ca\n"
        );
        let want = Etcd {
            authority: Some(Pem::File("/ca".into())),
            identity: Some((Pem::File("/cert".into()), Pem::File("/key".into()))),
            ..etcd_at(&["https://a:1"])
        };
        assert_eq!(
            with(Some(&text), &[("DATASTORE_TYPE", "kubernetes")]),
            Ok(Datastore::Etcd(want))
        );
        let text = format!(
            "{HEAD}  datastoreType: kubernetes\n  k8sAPIEndpoint: https://h:6443\n  k8sAPIToken: t\n"
        );
        let Ok(Datastore::Kubernetes(Kubernetes { inline: Some(inline), .. })) =
            with(Some(&text), &[("KUBECONFIG", "/k")])
        else {
            panic!("no kubeconfig");
        };
        let config: Value = serde_json::from_str(&inline).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://h:6443");
        assert_eq!(config["users"][0]["user"]["token"], "t");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let cases = [
            (Some("kind: Pod\napiVersion: v1\n".to_owned()), vec![], "is not projectcalico.org/v3"),
            (
                Some(format!("{HEAD}  datastoreTyp: x\n")),
                vec![],
                "spec.datastoreTyp: unknown field",
            ),
            (Some("a: [".to_owned()), vec![], "not YAML"),
            (None, vec![("DATASTORE_TYPE", "consul")], "`consul`"),
            (None, vec![("DATASTORE_TYPE", "etcdv3")], "no endpoints"),
            (None, vec![("ETCD_ENDPOINTS", "http://a"), ("ETCD_USERNAME", "u")], "its password"),
            (
                None,
                vec![("DATASTORE_TYPE", "etcdv3"), ("ETCD_DISCOVERY_SRV", "a")],
                "etcdDiscoverySrv",
            ),
            (None, vec![("ETCD_ENDPOINTS", "http://a"), ("ETCD_KEY_FILE", "k")], "belong together"),
        ];
        for (file, variables, want) in cases {
            let said = with(file.as_deref(), &variables).expect_err(want);
            assert!(said.contains(want), "{want}: {said}");
        }
        let missing = datastore(Path::new("/nonexistent/cfg"), None, &|_| None);
        assert!(format!("{:?}", missing.unwrap_err()).contains("cannot read config file"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let user = [("ETCD_ENDPOINTS", "http://a"), ("CALICO_ETCD_USERNAME", "u")];
        let with_password = [user[0], user[1], ("CALICO_ETCD_PASSWORD", "secret")];
        let shown = format!("{:?}", with(None, &with_password).unwrap());
        assert!(shown.contains("\"u\"") && !shown.contains("secret"), "{shown}");
        assert_eq!(format!("{:?}", Pem::Text("secret".into())), "inline");
    }
}

//! What a change is about.

use std::fmt;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{Object, Resource};

/// Defines [`Kind`] with a kind for each view of a resource that has a meaning here.
macro_rules! kinds {
    ($($kind:ident,)*) => {
        /// A kind of resource. Kinds of the same name in several groups are told apart.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names of the kinds say it all")]
        pub enum Kind {
            $($kind,)*
            /// A kind that stands for pods, by its name.
            Workload(SmolStr),
            /// Any other, by its name.
            Other(SmolStr),
        }

        impl Kind {
            /// The kind that an API group calls so, if it has a meaning here.
            pub fn named(group: &str, name: &str) -> Kind {
                match name {
                    "NetworkPolicy" if group == "networking.k8s.io" => Kind::KubernetesNetworkPolicy,
                    $(stringify!($kind) => Kind::$kind,)*
                    _ => Kind::Other(name.to_smolstr()),
                }
            }

            /// The kind of a resource.
            pub fn of(resource: &Resource) -> Kind {
                match &resource.object {
                    $(Object::$kind(_) => Kind::$kind,)*
                    Object::Workload(_) => Kind::Workload(resource.kind.to_smolstr()),
                    _ => Kind::Other(resource.kind.to_smolstr()),
                }
            }
        }

        impl fmt::Display for Kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Kind::$kind => f.write_str(stringify!($kind)),)*
                    Kind::Workload(name) | Kind::Other(name) => name.fmt(f),
                }
            }
        }
    };
}

kinds! {
    GlobalNetworkPolicy,
    NetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    KubernetesNetworkPolicy,
    ClusterNetworkPolicy,
    Tier,
    Profile,
    GlobalNetworkSet,
    NetworkSet,
    HostEndpoint,
    WorkloadEndpoint,
    Namespace,
    ServiceAccount,
    Pod,
    Service,
    EndpointSlice,
    Node,
    FelixConfiguration,
    KubeControllersConfiguration,
    TortieConfiguration,
}

/// Which resource a change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind.
    pub kind: Kind,
    /// Namespace; absent for a kind that has none.
    pub namespace: Option<SmolStr>,
    /// Name.
    pub name: SmolStr,
}

impl Key {
    /// The key of a resource.
    pub fn of(resource: &Resource) -> Key {
        let metadata = resource.metadata();
        Key {
            kind: Kind::of(resource),
            namespace: metadata.namespace.as_deref().map(SmolStr::from),
            name: metadata.name.to_smolstr(),
        }
    }

    /// The namespace, or the one that counts where none is given.
    pub(crate) fn namespace(&self) -> SmolStr {
        self.namespace.clone().unwrap_or_else(|| "default".into())
    }
}

/// `Kind namespace/name`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

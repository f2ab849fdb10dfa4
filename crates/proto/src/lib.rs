//! Generated wire code: Envoy's ext_authz, two health services, and Policy Sync.
//!
//! The sources are this project's own small `.proto` files in `/proto`. They declare only the
//! messages and fields that Tortie reads or sends, under the packages, names and numbers of the
//! real protocols, so unknown fields are skipped on decoding.
//!
//! Messages are always there; clients and servers come with the feature `grpc`.
//!
//! The output, in `src/generated`, `src/felix.binpb` and `src/kubernetes.binpb`, is committed. `tests/fresh.rs` regenerates
//! it and compares; after a change to a `.proto` file, rewrite it with
//! `TORTIE_REGENERATE=1 cargo test -p tortie-proto --test fresh`.

/// Includes the generated code of one protobuf package.
macro_rules! package {
    ($file:literal) => {
        include!(concat!("generated/", $file, ".rs"));
    };
}

// The nesting mirrors the protobuf packages: generated code refers to its neighbours with `super`.
#[doc(hidden)]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod packages {
    pub mod envoy {
        pub mod config {
            pub mod core {
                pub mod v3 {
                    package!("envoy.config.core.v3");
                }
            }
        }
        pub mod service {
            pub mod auth {
                pub mod v3 {
                    package!("envoy.service.auth.v3");
                }
            }
        }
        pub mod r#type {
            pub mod v3 {
                package!("envoy.r#type.v3");
            }
        }
    }
    pub mod google {
        pub mod rpc {
            package!("google.rpc");
        }
    }
    pub mod dikastes {
        package!("dikastes");
    }
    pub mod felix {
        package!("felix");
    }
    pub mod grpc {
        pub mod health {
            pub mod v1 {
                package!("grpc.health.v1");
            }
        }
    }
}

/// `envoy.service.auth.v3` with the few messages of other packages that it refers to.
pub mod ext_authz {
    pub use crate::packages::envoy::config::core::v3 as core;
    pub use crate::packages::envoy::service::auth::v3::*;
    pub use crate::packages::envoy::r#type::v3 as http;
    pub use crate::packages::google::rpc;
}

/// `dikastes.Healthz`: readiness and liveness as Calico's Dikastes offers them.
pub mod dikastes {
    pub use crate::packages::dikastes::*;
}

/// `felix`: Policy Sync as Calico's node agent speaks it, with this project's additions.
pub mod felix {
    pub use crate::packages::felix::*;

    /// What describes the messages to programs that know none of them, such as printers: a
    /// `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTOR: &[u8] = include_bytes!("felix.binpb");
}

/// Kubernetes' own kinds, as typed clients send them.
pub mod kubernetes {
    /// What describes the messages: a `google.protobuf.FileDescriptorSet`. There is no code for
    /// them. What JSON has always is `optional`; what it leaves out when zero is not. The options of
    /// `kubernetes/options.proto` say what else Go's types say.
    pub const DESCRIPTOR: &[u8] = include_bytes!("kubernetes.binpb");
}

/// `grpc.health.v1`: the standard health service, `Check` only.
pub mod health {
    pub use crate::packages::grpc::health::v1::*;
}

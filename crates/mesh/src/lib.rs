//! Envoy configuration, the pod's redirection rules, and the small CA of the lab.
//!
//! Everything here is a function from small input structs to text or JSON; the few functions that
//! touch a file say so. Nothing here knows what a policy is: a sidecar asks the authorizer about
//! every request, and that answer is all it obeys.
//!
//! - [`identity`]: who a workload is, as a SPIFFE id.
//! - [`ca`]: the authority that signs workload certificates.
//! - [`sds`]: how a certificate reaches a running Envoy, whole or not at all.
//! - [`envoy`]: the configuration of a sidecar and of the ingress gateway.
//! - [`redirect`]: the packet rules that lead a pod's TCP traffic through its sidecar.
//!
//! The contract between them is `docs/design/mesh.md`.

pub mod ca;
pub mod envoy;
mod files;
pub mod identity;
pub mod redirect;
pub mod sds;

/// The sidecar's port for connections that leave the pod.
pub const OUTBOUND_PORT: u16 = 15001;
/// The sidecar's port for connections that enter the pod.
pub const INBOUND_PORT: u16 = 15006;
/// The port Istio's tools expect Envoy's admin interface on; never reachable from other pods.
pub const ADMIN_PORT: u16 = 15000;
/// The socket mark by which a sidecar exempts its own connections from redirection.
pub const DEFAULT_MARK: u32 = 1337;

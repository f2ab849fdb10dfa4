//! Generated wire code: Envoy ext_authz, health.

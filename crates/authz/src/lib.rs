//! Envoy ext_authz server: identity, decision, decision log.

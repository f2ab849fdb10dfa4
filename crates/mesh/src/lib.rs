//! Envoy configuration and the small CA of the lab.

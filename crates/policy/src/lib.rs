//! The meaning of policy: domain types, conversions and the reference evaluator.

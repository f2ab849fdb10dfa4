//! Calico's label selector language: parse, canonical form, match, static restrictions.

//! Nets and ports of rules: what is accepted is written as what it means.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tortie_policy::fuzz::cidr_port(data));

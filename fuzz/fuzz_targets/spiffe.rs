//! SPIFFE IDs: read and written alike, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tortie_policy::fuzz::spiffe(data));

//! HTTP paths: a normal form with its properties, or none.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tortie_policy::fuzz::http_path(data));

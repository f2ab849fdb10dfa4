//! Envoy's checks: read as the generated decoder reads them, and always answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tortie_authz::fuzz::check_request(data));

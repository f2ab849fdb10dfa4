//! Selectors from trees: normalisation, canonical text and round trip.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tortie_selector::fuzz::build(data));

//! Selectors from text: parse, or report the error; round trip; restrictions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tortie_selector::fuzz::parse(data));

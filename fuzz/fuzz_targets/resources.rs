//! Resources, in YAML or JSON, from text to verdict: an answer or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tortie_testkit::fuzz::resources(data);
});

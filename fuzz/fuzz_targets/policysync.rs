//! Messages of Policy Sync: taken in, written and read alike, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tortie_policysync::fuzz::stream(data);
    tortie_policysync::fuzz::others(data);
});

//! Answers of the kernel: taken in whatever they are, and elements of sets written and read alike.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tortie_nft::fuzz::answers(data);
    tortie_nft::fuzz::sets(data);
});

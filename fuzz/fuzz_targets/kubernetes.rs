//! Bodies of requests in Kubernetes' protobuf: read as a document, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tortie_apiserver::fuzz::protobuf(data);
});

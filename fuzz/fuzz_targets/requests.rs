//! Bytes from the network: decoding and checking them must end, without a panic, whatever they are.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((kind, bytes)) = bytes.split_first() {
        perdura_server::fuzz::request(*kind, bytes);
    }
});

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kube_oidc_fuzz::discovery::run(data);
});

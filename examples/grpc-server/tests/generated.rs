//! The code in `src/generated` is what the proto file asks for.

#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Set to anything, it makes the test write the code instead of comparing it.
const REGENERATE: &str = "REGENERATE";

fn generate(folder: &Path) -> String {
    let proto = Path::new(PACKAGE).join("proto");
    let descriptors = protox::compile(["orders/v1/orders.proto"], [proto]).unwrap();
    fs::create_dir_all(folder).unwrap();
    tonic_prost_build::configure()
        .out_dir(folder)
        // the client is given a channel, it does not connect by itself
        .build_transport(false)
        .compile_fds(descriptors)
        .unwrap();
    fs::read_to_string(folder.join("orders.v1.rs")).unwrap()
}

#[test]
fn the_committed_code_is_that_of_the_proto_file() {
    let generated = generate(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated"));
    let path = Path::new(PACKAGE).join("src/generated/orders.v1.rs");
    if env::var_os(REGENERATE).is_some() {
        fs::write(path, generated).unwrap();
        return;
    }
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        generated == committed,
        "src/generated/orders.v1.rs is not what the proto file and this version of tonic make; \
         write it anew: {REGENERATE}=1 cargo test -p grpc-server --test generated"
    );
}

//! Compiles the .proto files without `protoc`, and keeps their descriptors for gRPC reflection.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "common",
        "peer",
        "history",
        "workflow_service",
        "worker_service",
        "namespace_service",
        "schedule_service",
        "batch_service",
        "operation_service",
        "activity_service",
        "deployment_service",
    ]
    .map(|name| format!("engine/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=engine/v1");
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Only payload bytes: for short fields a Vec is faster than a reference-counted slice.
        .bytes(".engine.v1.Payload.data")
        // A history stays encoded: it is stored, sent and paged as the bytes it was first written as.
        .extern_path(".engine.v1.History", "crate::EncodedHistory")
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}

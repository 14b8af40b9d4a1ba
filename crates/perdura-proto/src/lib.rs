//! The DurableTask protocol as generated code: the messages, the server's trait and the client of
//! `TaskHubSidecarService`, and beside it [`perdura::v1`], what only this engine offers to operators. The `.proto` files in this crate are the project's own; a test compares them with what the
//! official SDKs carry.

#![allow(missing_docs, clippy::all, reason = "generated; what there is to say stands in the .proto files")]

include!(concat!(env!("OUT_DIR"), "/protocol.rs"));

/// All message, enum and service descriptors, as an encoded `FileDescriptorSet`: for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

//! The DurableTask protocol as generated code: the messages, the server's trait and the client of
//! `TaskHubSidecarService`, and beside it what only this engine offers: [`operator`] and [`attendance`]. The `.proto` files in
//! this crate are the project's own; a test compares those of the protocol with what the official SDKs carry.

#![allow(missing_docs, clippy::all, reason = "generated; what there is to say stands in the .proto files")]

// The one without a package.
include!(concat!(env!("OUT_DIR"), "/_.rs"));

/// The package `perdura.v1`: what operators do, and are told.
pub mod operator {
    include!(concat!(env!("OUT_DIR"), "/perdura.v1.rs"));
}

/// The package `perdura.worker.v1`: heartbeats of activities, word of those that nobody waits for any more, and workers that
/// leave.
pub mod attendance {
    include!(concat!(env!("OUT_DIR"), "/perdura.worker.v1.rs"));
}

/// What a worker of this project announces: it takes `perduraTurn` in the place of events. Not a number of the protocol's.
pub const CAPABILITY_PERDURA_TURNS: i32 = 1001;

/// The token of the ping after which a worker that leaves gets nothing more.
pub const LEFT: &str = "left";

/// All message, enum and service descriptors, as an encoded `FileDescriptorSet`: for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

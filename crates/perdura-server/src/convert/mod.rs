//! Between the words of the core and those of the wire.

pub(crate) mod action;
pub(crate) mod entity;
pub(crate) mod failure;
pub(crate) mod history;
mod legacy;
pub(crate) mod state;
pub(crate) mod time;

use bytes::Bytes;
use perdura_core::history::ParentLink;
use perdura_core::{ExecutionId, Tags};
use perdura_proto::{OrchestrationInstance, TraceContext};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// A payload from the wire. Absent and empty are different things.
pub(crate) fn payload_in(text: Option<String>) -> Option<Bytes> {
    text.map(Bytes::from)
}

/// A payload for the wire, where it must be text. One that is not was written by a Rust program with an encoding of its
/// own; no other language could read it.
pub(crate) fn payload_out(payload: Option<&Bytes>) -> Option<String> {
    payload.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// A version for the wire: empty means that there is none.
pub(crate) fn version_out(version: &str) -> Option<String> {
    (!version.is_empty()).then(|| version.to_owned())
}

pub(crate) fn tags_in(tags: HashMap<String, String>) -> Tags {
    tags.into_iter().collect()
}

pub(crate) fn tags_out(tags: &Tags) -> HashMap<String, String> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A trace context as the engine keeps it: bytes that it does not read.
pub(crate) fn opaque<M: Message>(message: Option<M>) -> Option<Bytes> {
    message.map(|message| message.encode_to_vec().into())
}

/// The reverse of [`opaque`]. What cannot be read is as good as nothing: a trace is no reason to fail.
pub(crate) fn transparent<M: Message + Default>(bytes: Option<&Bytes>) -> Option<M> {
    M::decode(bytes?.clone()).ok()
}

pub(crate) fn trace_out(trace: Option<&Bytes>) -> Option<TraceContext> {
    transparent(trace)
}

/// The id of a run, on a branch of it, as SDKs read it: 32 hex digits. To them a rewound instance is a run of its own, as with
/// Microsoft's service; here all branches are of one run.
pub(crate) fn run_out(execution: ExecutionId, branch: u32) -> String {
    if branch == 0 {
        return execution.to_string();
    }
    let digest =
        Sha256::new().chain_update(execution.0.to_be_bytes()).chain_update(branch.to_be_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    ExecutionId(u128::from_be_bytes(bytes)).to_string()
}

/// As [`run_out`], of a run as histories keep it: 16 bytes.
pub(crate) fn execution_out(execution: &Bytes, branch: u32) -> Option<String> {
    let bytes: [u8; 16] = execution.as_ref().try_into().ok()?;
    Some(run_out(ExecutionId(u128::from_be_bytes(bytes)), branch))
}

pub(crate) fn instance_out(instance: &str, execution: Option<String>) -> OrchestrationInstance {
    OrchestrationInstance { instance_id: instance.to_owned(), execution_id: execution }
}

fn parent_out(parent: &ParentLink) -> perdura_proto::ParentInstanceInfo {
    perdura_proto::ParentInstanceInfo {
        task_scheduled_id: id_out(parent.task),
        name: Some(parent.name.clone()),
        version: version_out(&parent.version),
        orchestration_instance: Some(instance_out(
            &parent.instance,
            execution_out(&parent.execution, parent.branch),
        )),
    }
}

/// The number of a task or timer. Those of remote workers were an `i32`; a larger one is of a Rust program.
fn id_out(id: u32) -> i32 {
    i32::try_from(id).unwrap_or(i32::MAX)
}

//! Our wire format is that of the official SDKs.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

use perdura_proto::DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where `scripts/python-sdk` puts the descriptor of the Python SDK.
fn official() -> FileDescriptorProto {
    let sdk = std::env::var_os("PERDURA_SDK_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/sdk")),
        PathBuf::from,
    );
    let path = sdk.join("python/orchestrator_service.bin");
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run scripts/python-sdk first", path.display()));
    FileDescriptorProto::decode(&*bytes).unwrap()
}

fn ours() -> Vec<FileDescriptorProto> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    // The services for operators, and for what runs, are our own.
    let own = ["operator.proto", "attendance.proto"];
    let is_sdks = |name: &str| !name.starts_with("google/") && !own.contains(&name);
    all.file.into_iter().filter(|file| is_sdks(file.name())).collect()
}

/// Everything that shows on the wire, a line for each field, enum value and method.
fn lines<'a>(files: impl IntoIterator<Item = &'a FileDescriptorProto>) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for file in files {
        assert_eq!(file.package(), "", "the service has no package");
        assert_eq!(file.syntax(), "proto3");
        file.message_type.iter().for_each(|message| message_lines("", message, &mut lines));
        file.enum_type.iter().for_each(|kind| enum_lines(kind, &mut lines));
        for service in &file.service {
            for method in &service.method {
                lines.insert(format!(
                    "rpc {}.{}({}{}) returns ({}{})",
                    service.name(),
                    method.name(),
                    if method.client_streaming() { "stream " } else { "" },
                    method.input_type(),
                    if method.server_streaming() { "stream " } else { "" },
                    method.output_type(),
                ));
            }
        }
    }
    lines
}

fn message_lines(outer: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{outer}{}", message.name());
    lines.insert(format!("message {name}"));
    for field in &message.field {
        lines.insert(format!("{name}.{}", field_line(message, field)));
    }
    assert!(message.enum_type.is_empty() && message.extension.is_empty());
    message.nested_type.iter().for_each(|nested| message_lines(&format!("{name}."), nested, lines));
}

fn field_line(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let oneof = field.oneof_index.map_or("", |index| message.oneof_decl[index as usize].name());
    let kind = Type::try_from(field.r#type.unwrap()).unwrap().as_str_name();
    let label = Label::try_from(field.label.unwrap_or(Label::Optional as i32)).unwrap().as_str_name();
    format!(
        "{} = {}: {label} {kind} {} oneof {oneof:?} presence {} default {:?}",
        field.name(),
        field.number(),
        field.type_name(),
        field.proto3_optional(),
        field.default_value(),
    )
}

fn enum_lines(kind: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &kind.value {
        lines.insert(format!("enum {}.{} = {}", kind.name(), value.name(), value.number()));
    }
}

#[test]
#[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
fn every_message_field_enum_value_and_method_is_that_of_the_python_sdk() {
    let (ours, official) = (lines(&ours()), lines([&official()]));
    assert!(official.len() > 500, "only {} lines", official.len());
    let missing: Vec<_> = official.difference(&ours).collect();
    assert!(missing.is_empty(), "not in our files: {missing:#?}");
    let more: Vec<_> = ours.difference(&official).map(|line| line.split(':').next().unwrap()).collect();
    let known = [
        // Between this project's own server and workers.
        "ActivityRequest.perduraAttempt = 1001",
        "ActivityRequest.perduraDelivery = 1002",
        "ActivityRequest.perduraEpoch = 1004",
        "ActivityRequest.perduraLastHeartbeat = 1005",
        "ActivityRequest.perduraOrigin = 1003",
        // Kept so that the starts of old Go clients can be told from those of today's SDKs.
        "OrchestrationIdReusePolicy.legacyAction = 2",
        "OrchestratorRequest.perduraTurn = 1001",
        "OrchestratorResponse.perduraOutcome = 1001",
        "RaiseEventRequest.perduraUnlessEnded = 1001",
        "StartNewOrchestrationAction.perduraUnlessTaken = 1001",
    ];
    assert_eq!(more, known);
}

#[test]
fn the_service_has_every_method() {
    let ours = lines(&ours());
    assert_eq!(ours.iter().filter(|line| line.starts_with("rpc TaskHubSidecarService.")).count(), 29);
}

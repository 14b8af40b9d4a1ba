//! Calls with bytes that no generated client would send.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost_types::FileDescriptorSet;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The paths of all methods that are served.
pub fn methods() -> Vec<String> {
    let mut methods = Vec::new();
    let reflection = tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET;
    for set in [perdura_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET, reflection] {
        for file in FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                let dot = if file.package().is_empty() { "" } else { "." };
                for method in &service.method {
                    methods.push(format!("/{}{dot}{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
    }
    methods.push("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo".to_owned());
    methods
}

/// Calls a method with one message of these bytes, and gives the first message of the answer.
pub async fn call(
    channel: &Channel,
    method: &str,
    message: Vec<u8>,
    authorization: Option<&str>,
) -> Result<Option<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(Bytes::from(message));
    request.set_timeout(Duration::from_secs(1));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    let path = http::uri::PathAndQuery::try_from(method).unwrap();
    let mut answer = grpc.server_streaming(request, path, RawCodec).await?.into_inner();
    // A stream that stays silent is an answer too.
    match tokio::time::timeout(Duration::from_millis(50), answer.message()).await {
        Ok(message) => message,
        Err(_) => Ok(None),
    }
}

struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

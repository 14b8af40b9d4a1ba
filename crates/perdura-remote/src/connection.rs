//! Where the server is, and what every call to it carries.

use crate::{Client, WorkerBuilder};
use perdura::Registry;
use perdura_proto::attendance::attendance_client::AttendanceClient;
use perdura_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// How often a silent connection is probed, and how long an answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A setting of a connection that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConnection(String);

/// Where a server is: the start of workers and clients. Cheap to clone; it connects when something is asked, and again
/// whenever the connection is lost.
#[derive(Clone)]
pub struct Connection {
    endpoint: Endpoint,
    headers: Headers,
}

/// The service, with the headers of the connection.
pub(crate) type Grpc = TaskHubSidecarServiceClient<InterceptedService<Channel, Headers>>;

/// What is said of running activities, with the same headers.
pub(crate) type AttendanceGrpc = AttendanceClient<InterceptedService<Channel, Headers>>;

impl Connection {
    /// The server at an address: `http://localhost:4001`, or with `https` where it has a certificate that the roots of
    /// [`ca`](Self::ca) vouch for.
    pub fn new(uri: &str) -> Result<Connection, InvalidConnection> {
        let invalid = |error: tonic::transport::Error| InvalidConnection(format!("{uri:?}: {error}"));
        let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(invalid)?;
        let endpoint = endpoint
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true);
        Ok(Connection { endpoint, headers: Headers::default() })
    }

    /// The certificate, in PEM, of whoever vouches for the server's.
    pub fn ca(mut self, pem: &[u8]) -> Result<Connection, InvalidConnection> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        self.endpoint = self
            .endpoint
            .tls_config(tls)
            .map_err(|error| InvalidConnection(format!("certificate: {error}")))?;
        Ok(self)
    }

    /// The task hub; without it the server's default one.
    pub fn hub(mut self, name: &str) -> Result<Connection, InvalidConnection> {
        self.headers.hub = Some(header("task hub", name)?);
        Ok(self)
    }

    /// The token that the server asks for.
    pub fn token(mut self, token: &str) -> Result<Connection, InvalidConnection> {
        let mut value = header("token", &format!("Bearer {token}"))?;
        value.set_sensitive(true);
        self.headers.authorization = Some(value);
        Ok(self)
    }

    /// A client. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.grpc())
    }

    /// A worker that runs what is registered, once it is started.
    pub fn worker(&self, registry: Registry) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), registry)
    }

    pub(crate) fn attendance(&self) -> AttendanceGrpc {
        AttendanceClient::with_interceptor(self.endpoint.connect_lazy(), self.headers.clone())
            .max_encoding_message_size(usize::MAX)
    }

    pub(crate) fn grpc(&self) -> Grpc {
        TaskHubSidecarServiceClient::with_interceptor(self.endpoint.connect_lazy(), self.headers.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("uri", self.endpoint.uri()).finish_non_exhaustive()
    }
}

fn header(what: &str, text: &str) -> Result<MetadataValue<Ascii>, InvalidConnection> {
    text.parse()
        .map_err(|_| InvalidConnection(format!("{what}: it has a character that a header cannot carry")))
}

/// What every call carries.
#[derive(Clone, Default)]
pub(crate) struct Headers {
    hub: Option<MetadataValue<Ascii>>,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = [("taskhub", &self.hub), ("authorization", &self.authorization)];
        for (name, value) in headers {
            if let Some(value) = value {
                request.metadata_mut().insert(name, value.clone());
            }
        }
        Ok(request)
    }
}

//! The server as a whole: what it listens on, how it starts and how it ends.

use crate::attendance::AttendanceService;
use crate::hub::{HubError, HubOptions, Hubs};
use crate::hub_name::HubName;
use crate::operator::OperatorService;
use crate::security::{Credentials, Gate};
use crate::service::Service;
use crate::work_items::operations_bytes_max;
use perdura_core::Limits;
use perdura_core::delivery::Delivery;
use perdura_engine::Retention;
use perdura_proto::DESCRIPTORS;
use perdura_proto::task_hub_sidecar_service_server::TaskHubSidecarServiceServer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// How often a silent connection is probed, and how long an answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Calls at once on one connection: clients wait in calls, so many are usual.
const STREAMS_PER_CONNECTION_MAX: u32 = 10_000;
/// Bytes under way on one stream and on one connection before the receiver must have read some.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// Largest headers of a call, in bytes.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// How long connections may take to close once everything is finished.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The directory of the task hubs, one file each. It is made if there is none.
    pub data: PathBuf,
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Encrypts all connections.
    pub tls: Option<Tls>,
    /// Who may call; by default everybody.
    pub credentials: Credentials,
    /// Listens on addresses that other machines can reach, even without TLS or credentials.
    pub insecure: bool,
    /// Most task hubs that are open at once.
    pub hubs_max: usize,
    /// Largest message that a worker receives, in bytes; 0 is without limit. SDKs have 4 MiB unless they are told
    /// otherwise, and the one for JavaScript, which is recognised, has no limit.
    pub worker_message_bytes_max: usize,
    /// Largest request, in bytes.
    pub request_bytes_max: usize,
    /// How long a shutdown waits for what workers run.
    pub drain_time_max: Duration,
    /// How long a worker may have an operation of an entity. One that takes longer has failed and leaves no trace; its
    /// entity goes on. `None`: as long as it likes.
    pub operation_time_max: Option<Duration>,
    /// Limits of instances and payloads.
    pub limits: Limits,
    /// How long instances that have ended stay. By default until somebody removes them.
    pub retention: Retention,
    /// How often activities of a name may run, if their calls do not say so by tags.
    pub deliveries: BTreeMap<String, Delivery>,
}

impl ServerOptions {
    /// The defaults, for hubs in this directory: port 4001 on the loopback address, for everybody on this machine.
    pub fn new(data: impl Into<PathBuf>) -> ServerOptions {
        ServerOptions {
            data: data.into(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 4001))],
            tls: None,
            credentials: Credentials::default(),
            insecure: false,
            hubs_max: 64,
            worker_message_bytes_max: 4 << 20,
            request_bytes_max: 128 << 20,
            drain_time_max: Duration::from_secs(30),
            operation_time_max: Some(Duration::from_secs(600)),
            limits: Limits::default(),
            retention: Retention::default(),
            deliveries: BTreeMap::new(),
        }
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, followed by those between it and the root.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Others could read and write the hubs.
    #[error(
        "{address} can be reached from other machines: give a certificate (--tls-cert, --tls-key) and tokens \
         (--token-file), or say --insecure-no-auth if everybody may do everything"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// An address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate or its key cannot be used: {0}")]
    Tls(tonic::transport::Error),
    /// The data directory cannot be used.
    #[error("{}: {error}", directory.display())]
    Data {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The default hub cannot be opened.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A part of the service that is always the same could not be built.
    #[error("{0}")]
    Internal(String),
}

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    hubs: Arc<Hubs>,
    health: HealthReporter,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<Result<(), tonic::transport::Error>>>,
}

impl Server {
    /// Opens the default hub, binds all addresses and serves them.
    pub async fn start(options: ServerOptions) -> Result<Server, ServerError> {
        let guarded = options.tls.is_some() && options.credentials.are_needed();
        let exposed = options.listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = exposed.filter(|_| !guarded && !options.insecure) {
            return Err(ServerError::Exposed { address: *address });
        }
        make_directory(&options.data)?;
        let hubs = Arc::new(Hubs::new(HubOptions {
            directory: options.data.clone(),
            hubs_max: options.hubs_max,
            drain_time_max: options.drain_time_max,
            operation_time_max: options.operation_time_max,
            limits: Limits {
                operations_bytes_max: operations_bytes_max(options.worker_message_bytes_max),
                ..options.limits.clone()
            },
            retention: options.retention.clone(),
            deliveries: Arc::new(options.deliveries.clone()),
        }));
        // A hub that cannot be opened shall show now and not at the first call.
        hubs.get(&HubName::default()).await?;
        let mut bound = Vec::new();
        for address in &options.listen {
            let listen = |error| ServerError::Listen { address: *address, error };
            let listener = TcpListener::bind(address).await.map_err(listen)?;
            bound.push((listener.local_addr().map_err(listen)?, listener));
        }
        let (health, routes) = routes(&hubs, &options).await?;
        let (stop, stopped) = watch::channel(false);
        let (mut addresses, mut listeners) = (Vec::new(), Vec::new());
        for (address, listener) in bound {
            let mut builder = builder();
            if let Some(tls) = &options.tls {
                let identity = Identity::from_pem(&tls.certificate, &tls.key);
                let config = ServerTlsConfig::new().identity(identity);
                builder = builder.tls_config(config).map_err(ServerError::Tls)?;
            }
            let router = builder.layer(Gate(options.credentials.clone())).add_routes(routes.clone());
            // Without it small messages wait 40 ms for one another. The builder sets it only on sockets of its own.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let mut stopped = stopped.clone();
            listeners.push(tokio::spawn(router.serve_with_incoming_shutdown(incoming, async move {
                // An error means that the server was dropped.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            })));
            addresses.push(address);
        }
        Ok(Server { addresses, hubs, health, stop, listeners })
    }

    /// Where it listens: as asked, with the port that was given for port 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends the server: streams of work end, what workers run may finish within the drain time, and everything that
    /// they bring is recorded. The files of the hubs are free then.
    pub async fn shutdown(self) {
        self.health.set_service_status("", ServingStatus::NotServing).await;
        let closed = self.hubs.close().await;
        let _ = self.stop.send(true);
        for listener in self.listeners {
            let abort = listener.abort_handle();
            if tokio::time::timeout(CLOSE_TIME_MAX, listener).await.is_err() {
                abort.abort();
            }
        }
        for hub in closed {
            hub.until_free().await;
        }
    }
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
}

/// Everything that is served, on every address.
async fn routes(hubs: &Arc<Hubs>, options: &ServerOptions) -> Result<(HealthReporter, Routes), ServerError> {
    let service = Service { hubs: hubs.clone(), worker_message_bytes_max: options.worker_message_bytes_max };
    let service = TaskHubSidecarServiceServer::new(service)
        .max_decoding_message_size(options.request_bytes_max)
        .max_encoding_message_size(usize::MAX);
    let operator = OperatorService::of_hubs(hubs.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<TaskHubSidecarServiceServer<Service>>().await;
    let internal = |error: tonic_reflection::server::Error| ServerError::Internal(error.to_string());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(service)
        .add_service(operator)
        .add_service(AttendanceService::new(hubs.clone()))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(internal)?)
        // Older tools ask this one.
        .add_service(reflection().build_v1alpha().map_err(internal)?);
    Ok((health, routes))
}

fn make_directory(directory: &PathBuf) -> Result<(), ServerError> {
    std::fs::create_dir_all(directory)
        .map_err(|error| ServerError::Data { directory: directory.clone(), error })
}

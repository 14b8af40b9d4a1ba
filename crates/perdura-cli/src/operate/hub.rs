//! The hub that a command is for.

use anyhow::{Context, bail, ensure};
use clap::Args;
use perdura_engine::Client;
use perdura_proto::operator::operator_client::OperatorClient;
use perdura_server::OperatorService;
use perdura_sqlite::{SqliteOptions, SqliteStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic::body::Body;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tower::util::{BoxCloneSyncService, ServiceExt};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Way = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;

/// How a certificate in PEM begins.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Whether a command changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// A hub file whose engine is stopped, or a server.
#[derive(Args, Debug)]
pub struct HubOptions {
    /// The hub file, unless there is --server; then the instance
    #[arg(value_name = "FILE | INSTANCE", num_args = 0..=2)]
    names: Vec<String>,
    /// A running server, such as http://127.0.0.1:4001
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The task hub of the server
    #[arg(long, value_name = "NAME", default_value = "default", requires = "server")]
    hub: String,
    /// File whose first line is a token for the server; or one in PERDURA_TOKEN
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Certificate in PEM that the server's one is trusted for
    #[arg(long, value_name = "FILE", requires = "server")]
    tls_ca: Option<PathBuf>,
}

/// An open hub.
pub struct Hub {
    way: OperatorClient<Way>,
    metadata: Vec<(&'static str, MetadataValue<Ascii>)>,
    /// No engine serves it.
    pub is_at_rest: bool,
}

impl HubOptions {
    /// The instance, if one is named.
    pub fn instance(&self) -> anyhow::Result<Option<&str>> {
        let file = usize::from(self.server.is_none());
        ensure!(self.names.len() >= file, "name a hub file, or a server by --server");
        ensure!(self.names.len() <= file + 1, "with --server there is no hub file; name only the instance");
        Ok(self.names.get(file).map(String::as_str))
    }

    /// The instance that has to be named.
    pub fn the_instance(&self) -> anyhow::Result<String> {
        self.instance()?.map(str::to_owned).context("name an instance")
    }

    pub async fn open(&self, access: Access) -> anyhow::Result<Hub> {
        // What is wrong with the names shows before a file is opened.
        self.instance()?;
        match &self.server {
            Some(url) => self.connect(url).await,
            None => self.open_file(Path::new(&self.names[0]), access),
        }
    }

    fn open_file(&self, file: &Path, access: Access) -> anyhow::Result<Hub> {
        if !file.exists() {
            bail!("there is no hub file {}", file.display());
        }
        let store = match access {
            Access::Read => SqliteStore::open_read_only(file)?,
            Access::Write => SqliteStore::open(file, SqliteOptions::default())?,
        };
        let service = OperatorService::at_rest(Client::at_rest(Arc::new(store)));
        let service = service.max_decoding_message_size(usize::MAX);
        let service = ServiceExt::<http::Request<Body>>::map_err(service, |error| match error {});
        Ok(Hub { way: client(Way::new(service)), metadata: Vec::new(), is_at_rest: true })
    }

    async fn connect(&self, url: &str) -> anyhow::Result<Hub> {
        let mut endpoint =
            Endpoint::from_shared(url.to_owned()).with_context(|| format!("--server {url}"))?;
        let is_encrypted = endpoint.uri().scheme_str() == Some("https");
        if is_encrypted && self.tls_ca.is_none() {
            bail!("--server {url}: name a certificate that vouches for the server by --tls-ca");
        }
        if let Some(path) = &self.tls_ca {
            ensure!(is_encrypted, "--server {url}: a server with a certificate is at https://");
            let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
            let is_there = String::from_utf8_lossy(&pem).contains(CERTIFICATE);
            ensure!(is_there, "{}: there is no certificate in PEM in it", path.display());
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint = endpoint.tls_config(tls).with_context(|| path.display().to_string())?;
        }
        let connected = endpoint.connect().await;
        let channel = connected.with_context(|| match is_encrypted {
            true => format!(
                "no server answers at {url} that the certificate of --tls-ca vouches for; is it running?"
            ),
            false => {
                format!("no server answers at {url}; is it running, and without a certificate (https://)?")
            }
        })?;
        let mut metadata = vec![("taskhub", self.hub.parse().context("--hub")?)];
        if let Some(token) = self.token()? {
            metadata.push(("authorization", format!("Bearer {token}").parse().context("the token")?));
        }
        let way = Way::new(channel.map_err(BoxError::from));
        Ok(Hub { way: client(way), metadata, is_at_rest: false })
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else {
            return Ok(std::env::var(crate::serve::TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()));
        };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let token = text.lines().map(str::trim).find(|line| !line.is_empty());
        Ok(Some(token.with_context(|| format!("{}: there is no token in it", path.display()))?.to_owned()))
    }
}

fn client(way: Way) -> OperatorClient<Way> {
    OperatorClient::new(way).max_decoding_message_size(usize::MAX)
}

impl Hub {
    /// The calls of the hub.
    pub fn calls(&self) -> OperatorClient<Way> {
        self.way.clone()
    }

    /// A message on its way to the hub.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        for (name, value) in &self.metadata {
            request.metadata_mut().insert(*name, value.clone());
        }
        request
    }
}

/// What the hub said when it refused, without the frame that gRPC puts around it.
pub fn refused(status: tonic::Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow::anyhow!("{status}"),
        message => anyhow::anyhow!("{message}"),
    }
}

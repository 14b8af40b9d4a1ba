//! `perdura serve` and `perdura dev`: the server for workers and clients in other languages.

use anyhow::{Context, bail};
use clap::Args;
use perdura_core::delivery::{Delivery, OnUnknown};
use perdura_core::{Status, check_name};
use perdura_engine::Retention;
use perdura_server::{Credentials, Server, ServerError, ServerOptions, Tls};
use std::env::VarError;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A token may come by this variable instead of a file.
pub const TOKEN_VARIABLE: &str = "PERDURA_TOKEN";
/// Wrong settings end with this code.
const EXIT_SETTINGS: u8 = 2;

/// Settings of `perdura serve`.
#[derive(Args)]
pub struct ServeOptions {
    /// Directory of the task hubs, one file each.
    #[arg(long, default_value = "perdura-data")]
    data: PathBuf,
    /// Address to listen on; may be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4001")]
    listen: Vec<SocketAddr>,
    /// Certificate in PEM, followed by those between it and the root.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// File of tokens, one a line; callers need one of them. Or one token in PERDURA_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Listen on addresses that other machines can reach, although everybody may then read and do everything.
    #[arg(long)]
    insecure_no_auth: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

/// Settings of `perdura dev`.
#[derive(Args)]
pub struct DevOptions {
    /// Directory of the task hubs; without it a temporary one, which is removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Port on the loopback address; may be given several times.
    #[arg(long, default_values_t = [4001, 8080])]
    port: Vec<u16>,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Args)]
struct LimitOptions {
    /// Most task hubs that are open at once.
    #[arg(long, default_value_t = 64)]
    hubs_max: usize,
    /// Largest message that workers receive, in bytes; 0 is without limit. A work item that is larger fails.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    worker_message_bytes_max: usize,
    /// How long a shutdown waits for what workers run.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u64,
    /// How long instances that have ended stay, such as completed=7d; may be given several times. Without it until they
    /// are purged.
    #[arg(long, value_name = "STATUS=TIME", value_parser = retain)]
    retain: Vec<(Status, Duration)>,
    /// An activity that is not run again while nobody knows whether it ran, and what is done then: fail, suspend, or
    /// handler:NAME to ask another activity. May be given several times. Tags of a call come first.
    #[arg(long, value_name = "ACTIVITY=POLICY", value_parser = at_most_once)]
    at_most_once: Vec<(String, Delivery)>,
    /// An activity whose delivery count is committed before a worker gets it. May be given several times.
    #[arg(long, value_name = "ACTIVITY", value_parser = activity_name)]
    precise: Vec<String>,
    /// How long a worker may have an operation of an entity, after which it has failed; 0 is without limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    operation_seconds: u64,
}

fn retain(text: &str) -> Result<(Status, Duration), String> {
    let (status, age) = text.split_once('=').ok_or("expected STATUS=TIME, such as completed=7d")?;
    let status = crate::inspect::parse_status(status)?;
    if !status.is_terminal() {
        return Err(format!("{status} is not an end; one of completed, failed, canceled, terminated"));
    }
    Ok((status, crate::operate::span(age)?))
}

fn activity_name(name: &str) -> Result<String, String> {
    check_name("activity name", name).map(|()| name.to_owned()).map_err(|error| error.to_string())
}

fn at_most_once(text: &str) -> Result<(String, Delivery), String> {
    let (name, policy) = text.split_once('=').ok_or("say ACTIVITY=POLICY, such as charge=suspend")?;
    let (name, policy) = (activity_name(name)?, OnUnknown::parse(policy).map_err(|error| error.to_string())?);
    let delivery = Delivery::AtMostOnce(policy);
    delivery.check_for(&name).map_err(|error| error.to_string())?;
    Ok((name, delivery))
}

impl LimitOptions {
    fn apply(&self, options: &mut ServerOptions) -> anyhow::Result<()> {
        options.hubs_max = self.hubs_max;
        options.worker_message_bytes_max = self.worker_message_bytes_max;
        options.drain_time_max = Duration::from_secs(self.drain_seconds);
        let each = self.retain.iter();
        options.retention = each.fold(Retention::default(), |all, (status, age)| all.of(*status, *age));
        let precise = self.precise.iter().map(|name| (name.clone(), Delivery::Precise));
        for (name, delivery) in precise.chain(self.at_most_once.iter().cloned()) {
            if options.deliveries.insert(name.clone(), delivery).is_some() {
                anyhow::bail!(
                    "activity {name:?} is named twice by --at-most-once and --precise: say one thing of it"
                );
            }
        }
        let operation = Duration::from_secs(self.operation_seconds);
        options.operation_time_max = (!operation.is_zero()).then_some(operation);
        Ok(())
    }
}

pub async fn serve(options: ServeOptions) -> anyhow::Result<ExitCode> {
    match settings(options) {
        Ok(settings) => run(settings).await,
        Err(error) => {
            eprintln!("perdura: {error:#}");
            Ok(ExitCode::from(EXIT_SETTINGS))
        }
    }
}

fn settings(options: ServeOptions) -> anyhow::Result<ServerOptions> {
    let mut settings = ServerOptions::new(options.data);
    settings.listen = options.listen;
    settings.insecure = options.insecure_no_auth;
    options.limits.apply(&mut settings)?;
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
        settings.tls = Some(Tls { certificate: read(certificate)?, key: read(key)? });
    }
    settings.credentials = credentials(options.token_file.as_ref())?;
    Ok(settings)
}

pub async fn dev(options: DevOptions) -> anyhow::Result<ExitCode> {
    let temporary = match &options.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("perdura-dev-").tempdir()?),
    };
    let data = options.data.or_else(|| temporary.as_ref().map(|directory| directory.path().to_owned()));
    let mut settings = ServerOptions::new(data.unwrap_or_default());
    settings.listen = options.port.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    options.limits.apply(&mut settings)?;
    run(settings).await
}

/// The tokens of the file and of the environment.
fn credentials(file: Option<&PathBuf>) -> anyhow::Result<Credentials> {
    let mut tokens = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        tokens.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        if tokens.is_empty() {
            bail!("{}: there is no token in it", path.display());
        }
    }
    match std::env::var(TOKEN_VARIABLE) {
        // A secret that did not arrive must not open the server to everybody.
        Ok(token) if token.trim().is_empty() => {
            bail!("{TOKEN_VARIABLE} is empty: give it a token, or unset it if none is needed")
        }
        Ok(token) => tokens.push(token),
        Err(VarError::NotPresent) => {}
        Err(error) => bail!("{TOKEN_VARIABLE}: {error}"),
    }
    Credentials::tokens(tokens.iter().map(String::as_str)).context("--token-file or PERDURA_TOKEN")
}

/// Tells whoever listens. A server goes on when nobody does: its output may be a pipe that somebody has closed.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

async fn run(settings: ServerOptions) -> anyhow::Result<ExitCode> {
    let (data, encrypted) = (settings.data.clone(), settings.tls.is_some());
    // Before anything is announced, so that whoever reads of it can end the server properly.
    let mut terminate = signal(SignalKind::terminate())?;
    let server = match Server::start(settings).await {
        Ok(server) => server,
        Err(error @ (ServerError::Exposed { .. } | ServerError::Tls(_))) => {
            eprintln!("perdura: {error}");
            return Ok(ExitCode::from(EXIT_SETTINGS));
        }
        Err(error) => return Err(error.into()),
    };
    say(format_args!("Task hubs are in {}.", data.display()));
    let scheme = if encrypted { "https" } else { "http" };
    for address in server.addresses() {
        say(format_args!("Listening on {scheme}://{address}"));
    }
    if let Some(address) = server.addresses().last().filter(|_| !encrypted) {
        say(format_args!("Connection string: Endpoint=http://{address};TaskHub=default;Authentication=None"));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    say(format_args!("Ending: waiting for what workers run. Once more to end at once."));
    tokio::select! {
        () = server.shutdown() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::FAILURE),
    }
}

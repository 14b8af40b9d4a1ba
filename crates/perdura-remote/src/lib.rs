//! Perdura over the network. A [`Worker`] runs orchestrations, activities and entities of a
//! [`Registry`](perdura::Registry) for a server (`perdura serve`), beside workers in other languages: they call one another
//! by name. A [`Client`] starts instances there and waits for them.
//!
//! ```no_run
//! use perdura::prelude::*;
//! use perdura::Registry;
//! use perdura_remote::Connection;
//!
//! #[activity]
//! async fn greet(name: String) -> Result<String> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! #[orchestration]
//! async fn hello(ctx: Orchestration, name: String) -> Result<String> {
//!     ctx.call(greet, name).await
//! }
//!
//! # async fn example() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::new("http://localhost:4001")?;
//! let worker = connection.worker(Registry::new().register(hello).register(greet)).start().await?;
//! let client = connection.client();
//! let greeting: String = client.start(hello, "world".into()).await?.wait().await?;
//! # let _ = greeting;
//! worker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What is different from an engine inside the program: payloads must be text, as JSON is. Heartbeats of activities, and
//! word that nobody waits for one any more, take a service of their own: a server of an older version, or of somebody else,
//! has none, and then they stay here. Other SDKs write the names of entities in lower case:
//! one that they are to reach has a name in lower case, `#[entity(name = "counter")]`.

mod activities;
mod attendance;
mod client;
mod connection;
mod entities;
mod error;
mod instance;
mod turns;
mod wire;
mod worker;

pub use client::{Client, Start};
pub use connection::{Connection, InvalidConnection};
pub use error::RemoteError;
pub use instance::{Instance, InstanceState};
pub use worker::{Worker, WorkerBuilder};

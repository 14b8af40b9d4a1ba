//! Behaviour of the SDK as its users see it.
#![allow(missing_docs, clippy::unwrap_used)]

mod calls;
mod cancel;
mod delivery;
mod delivery_edges;
mod desk;
#[cfg(feature = "sqlite")]
mod doubtful_commits;
mod engine;
#[cfg(feature = "sqlite")]
mod entities;
mod entity_circles;
#[cfg(feature = "sqlite")]
mod entity_losses;
mod entity_queues;
mod events;
#[cfg(feature = "http-handler")]
mod http_handler;
#[cfg(feature = "sqlite")]
mod hub_keys;
mod join_and_select;
mod limits;
mod names;
mod not_durable;
mod retention;
mod rewind;
#[cfg(feature = "sqlite")]
mod shutdown;
#[cfg(feature = "sqlite")]
mod transactional;
#[cfg(feature = "sqlite")]
mod transactional_once;
mod warm_and_cold;
#[cfg(feature = "sqlite")]
mod why;

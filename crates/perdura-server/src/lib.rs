//! The Perdura server: the DurableTask gRPC service over the engine. Workers and clients in any language that has a
//! DurableTask SDK connect to it; each task hub is a file of its own, and an engine that runs here.

mod attendance;
mod convert;
#[doc(hidden)]
pub mod fuzz;
mod hub;
mod hub_name;
mod listen;
mod operator;
mod remote;
mod security;
mod service;
mod work_items;

pub use hub::HubError;
pub use hub_name::{HUB_NAME_BYTES_MAX, HubName, InvalidHubName};
pub use listen::{Server, ServerError, ServerOptions, Tls};
pub use operator::OperatorService;
pub use security::{Credentials, InvalidToken, TOKEN_BYTES_MIN};

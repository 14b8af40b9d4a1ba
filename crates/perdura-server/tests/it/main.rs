//! The server as its clients and workers see it, over a real connection.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod clients;
mod entity_starts;
mod garbage;
mod hubs;
mod late;
mod leaving;
mod lost;
mod once;
mod operator;
mod partial;
mod parts;
mod recorded;
mod rewound;
mod security;
mod shutdown;
mod sizes;
mod wire_bytes;
mod work;
mod world;

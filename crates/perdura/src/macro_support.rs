//! For the code that the attributes generate. Not part of the API.

use crate::error::{Error, Result};
use crate::payload::{FromPayload, read};
use crate::registry::Registry;
use bytes::Bytes;

/// What an activity or an orchestration may return: a `Result` whose error becomes an [`Error`].
#[diagnostic::on_unimplemented(
    message = "an activity or orchestration must return a `Result`, not `{Self}`",
    label = "not a `Result` with an error that becomes `perdura::Error`"
)]
pub trait Outcome {
    /// What it returns when it goes well.
    type Value;
    /// The same as the result of this crate.
    fn into_result(self) -> Result<Self::Value>;
}

impl<T, E: Into<Error>> Outcome for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
}

/// An item that an attribute made.
pub trait Item {
    /// Adds it to a registry.
    fn register(registry: &mut Registry);
}

/// The parameter of the functions that the attributes leave in place of the user's. A function without an attribute
/// does not have it, and the compiler's complaint names this type.
#[derive(Clone, Copy, Debug)]
pub struct MadeByAttribute;

/// What a transactional activity says where there is no transaction.
pub fn without_transaction<T>() -> Result<T> {
    Err(Error::invalid("a transactional activity runs only in an engine on an SQLite hub"))
}

/// The input of an operation.
pub fn read_input<T: FromPayload>(operation: &str, input: Option<Bytes>) -> Result<T> {
    read(input, || format!("input of operation {operation:?}"))
}

//! Inputs, outputs and events on their way to bytes and back.

mod finite;

use crate::error::{Error, Result};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can become a payload: everything that serde serializes, as JSON, and [`Raw`].
///
/// What JSON writes as `null`, such as `()` and `None`, is no payload at all. A number that JSON cannot write, `NaN` or an
/// infinity, is an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a payload",
    note = "derive `serde::Serialize` for it, or wrap bytes in `perdura::Raw`"
)]
pub trait ToPayload {
    /// The payload.
    fn to_payload(&self) -> Result<Option<Bytes>>;
}

/// What can be read from a payload: everything that serde deserializes and owns, from JSON, and [`Raw`].
///
/// No payload reads as `null`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a payload",
    note = "derive `serde::Deserialize` for it, or take bytes as `perdura::Raw`"
)]
pub trait FromPayload: Sized {
    /// The value of a payload.
    fn from_payload(payload: Option<Bytes>) -> Result<Self>;
}

/// Both ways: inputs and outputs of activities and orchestrations.
pub trait Payload: ToPayload + FromPayload + 'static {}

impl<T: ToPayload + FromPayload + 'static> Payload for T {}

/// Bytes that pass untouched, for payloads that are not JSON.
///
/// ```
/// use perdura::{Raw, ToPayload};
/// let raw = Raw("any bytes".into());
/// assert_eq!(raw.to_payload()?.unwrap(), "any bytes");
/// # Ok::<(), perdura::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl From<Vec<u8>> for Raw {
    fn from(bytes: Vec<u8>) -> Raw {
        Raw(bytes.into())
    }
}

impl<T: Serialize + ?Sized> ToPayload for T {
    fn to_payload(&self) -> Result<Option<Bytes>> {
        let json = to_json(self)?;
        Ok((json != "null").then_some(json))
    }
}

/// A value as JSON that reads back as the same.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    let refused = |why: &dyn std::fmt::Display| {
        Error::payload(format!("{} does not serialize: {why}", std::any::type_name::<T>()))
    };
    let json = serde_json::to_vec(value).map_err(|e| refused(&e))?;
    // Only then may a number have been lost.
    if json.windows(4).any(|bytes| bytes == b"null") {
        finite::check(value).map_err(|e| refused(&e))?;
    }
    Ok(json.into())
}

impl<T: DeserializeOwned> FromPayload for T {
    fn from_payload(payload: Option<Bytes>) -> Result<T> {
        let json = payload.as_deref().unwrap_or(b"null");
        serde_json::from_slice(json).map_err(|e| {
            let found = if payload.is_some() { "" } else { ", and there is none" };
            Error::payload(format!("expected {}{found}: {e}", std::any::type_name::<T>()))
        })
    }
}

impl ToPayload for Raw {
    fn to_payload(&self) -> Result<Option<Bytes>> {
        Ok(Some(self.0.clone()))
    }
}

impl FromPayload for Raw {
    fn from_payload(payload: Option<Bytes>) -> Result<Raw> {
        Ok(Raw(payload.unwrap_or_default()))
    }
}

/// Reads a payload and names it when it cannot be read.
pub(crate) fn read<T: FromPayload>(payload: Option<Bytes>, what: impl FnOnce() -> String) -> Result<T> {
    T::from_payload(payload).map_err(|error| Error::payload(format!("{}: {error}", what())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn nothing_is_no_payload_and_reads_back_as_nothing() {
        assert_eq!(().to_payload().unwrap(), None);
        assert_eq!(None::<u32>.to_payload().unwrap(), None);
        <()>::from_payload(None).unwrap();
        assert_eq!(Option::<u32>::from_payload(None).unwrap(), None);
    }

    #[test]
    fn a_number_that_json_does_not_have_is_an_error_that_says_where_it_is() {
        #[derive(Serialize)]
        struct Shape {
            name: Option<&'static str>,
            sides: BTreeMap<&'static str, Vec<(u8, f32)>>,
        }
        let shape = |side| Shape { name: None, sides: [("a", vec![(1, 0.5), (2, side)])].into() };
        assert_eq!(
            shape(1.5).to_payload().unwrap().unwrap(),
            r#"{"name":null,"sides":{"a":[[1,0.5],[2,1.5]]}}"#
        );
        let error = shape(f32::NAN).to_payload().unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("does not serialize: NaN at .sides[\"a\"][1][1]: JSON has no such number"),
            "{text}"
        );
        assert!(error.failure().non_retryable);
        let error = Some(f64::NEG_INFINITY).to_payload().unwrap_err();
        assert!(error.to_string().ends_with("does not serialize: -inf: JSON has no such number"), "{error}");
    }

    #[test]
    fn a_payload_of_another_shape_says_what_was_expected() {
        let error = u32::from_payload(Some("\"many\"".into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected u32: invalid type: string \"many\", expected u32 at line 1 column 6"
        );
        let error = read::<u32>(None, || "input of activity \"count\"".into()).unwrap_err();
        assert!(
            error.to_string().starts_with("input of activity \"count\": expected u32, and there is none")
        );
        assert!(error.failure().non_retryable);
    }
}

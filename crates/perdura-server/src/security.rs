//! Who may call. One gate before everything that listens: no method can be forgotten.

use http::{Request, Response, header};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Shortest token that is accepted as a credential, in bytes.
pub const TOKEN_BYTES_MIN: usize = 16;

/// A token that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Easy to guess.
    #[error("a token has {bytes} bytes; the shortest that is accepted has {TOKEN_BYTES_MIN}")]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// It could not be sent in a header.
    #[error("a token has a character that a header cannot carry")]
    Unprintable,
}

/// The tokens that open the gate; without one it is open. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct Credentials(Arc<[[u8; 32]]>);

impl Credentials {
    /// Callers need one of these tokens.
    pub fn tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Credentials, InvalidToken> {
        let hash = |token: &str| {
            if token.len() < TOKEN_BYTES_MIN {
                return Err(InvalidToken::TooShort { bytes: token.len() });
            }
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(InvalidToken::Unprintable);
            }
            Ok(Sha256::digest(token.as_bytes()).into())
        };
        Ok(Credentials(tokens.into_iter().map(hash).collect::<Result<_, _>>()?))
    }

    /// Whether callers need a token.
    #[must_use]
    pub fn are_needed(&self) -> bool {
        !self.0.is_empty()
    }

    fn allow<B>(&self, request: &Request<B>) -> bool {
        if !self.are_needed() {
            return true;
        }
        let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
        // Two of them could be read in two ways.
        let (Some(value), None) = (headers.next(), headers.next()) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked(7) else { return false };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return false;
        }
        let asked: [u8; 32] = Sha256::digest(token).into();
        // All are compared, all bytes of each: how long it takes tells nothing.
        let differs = |known: &[u8; 32]| known.iter().zip(asked).fold(0, |bits, (a, b)| bits | (a ^ b));
        self.0.iter().fold(false, |found, known| found | (differs(known) == 0))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} tokens)", self.0.len())
    }
}

/// Puts the gate before a service.
#[derive(Clone, Debug)]
pub(crate) struct Gate(pub(crate) Credentials);

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, credentials: self.0.clone() }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(crate) struct Gated<S> {
    inner: S,
    credentials: Credentials,
}

impl<S, B> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = perdura_store::BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.credentials.allow(&request) {
            return Box::pin(self.inner.call(request));
        }
        // One text for everything that can be wrong with a credential.
        let refusal =
            Status::unauthenticated("this server needs a valid token: authorization: Bearer <token>");
        Box::pin(async move { Ok(refusal.into_http()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn allowed(credentials: &Credentials, headers: &[&str]) -> bool {
        let mut request = Request::new(());
        for value in headers {
            request.headers_mut().append(header::AUTHORIZATION, value.parse().unwrap());
        }
        credentials.allow(&request)
    }

    #[test]
    fn only_the_right_token_once_opens_the_gate() {
        let credentials = Credentials::tokens([TOKEN, "another-long-token"]).unwrap();
        let right = format!("Bearer {TOKEN}");
        assert!(allowed(&credentials, &[&right]));
        assert!(allowed(&credentials, &["bearer another-long-token"]));
        let wrong = format!("Bearer {TOKEN}0");
        for headers in [&[][..], &[""], &["Bearer"], &["Bearer "], &[TOKEN], &[&wrong], &[&right, &right]] {
            assert!(!allowed(&credentials, headers), "{headers:?}");
        }
        assert!(allowed(&Credentials::default(), &[&wrong]), "without credentials a token is ignored");
    }

    #[test]
    fn a_token_that_is_easy_to_guess_is_refused_and_none_is_ever_shown() {
        assert_eq!(Credentials::tokens(["short"]).unwrap_err(), InvalidToken::TooShort { bytes: 5 });
        assert_eq!(Credentials::tokens(["0123456789 abcdef"]).unwrap_err(), InvalidToken::Unprintable);
        let shown = format!("{:?}", Credentials::tokens([TOKEN]).unwrap());
        assert_eq!(shown, "Credentials(1 tokens)");
    }
}

//! Completion tokens: the proof that a worker was given an item.

use bytes::Bytes;
use std::fmt;

/// Names one hand-over of one item. Random, so that no worker can guess that of another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(u128);

impl Token {
    pub(crate) fn random() -> Result<Token, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Token(u128::from_le_bytes(bytes)))
    }

    /// The token of a text; `None` if it cannot be one of ours.
    pub(crate) fn parse(text: &str) -> Option<Token> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let well_formed = text.len() == 32 && text.bytes().all(is_hex);
        well_formed.then(|| u128::from_str_radix(text, 16).ok().map(Token)).flatten()
    }

    /// What is recorded of it.
    pub(crate) fn bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: u128) -> Token {
        Token(number)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token is a right: it does not belong in a log.
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_wire_and_garbage_is_none() {
        let token = Token::random().unwrap();
        assert_eq!(Token::parse(&token.to_string()), Some(token));
        let long = "0".repeat(33);
        for garbage in ["", "x", "+0000000000000000000000000000001", "é000000000000000000000000000000", &long]
        {
            assert_eq!(Token::parse(garbage), None, "{garbage:?}");
        }
    }
}

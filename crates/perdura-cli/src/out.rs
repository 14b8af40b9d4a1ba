//! The standard output of a command.

use std::fmt::{self, Display, Formatter};
use std::io::{ErrorKind, Write, stdout};

/// Nobody reads any more what the command prints, as in `perdura list hub.db | head -1`. It is over then, and nothing is
/// wrong.
#[derive(Debug)]
pub struct Closed;

impl Display for Closed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for Closed {}

/// Prints a line. An error if that is not possible: [`Closed`] if nobody reads.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => Ok(written?),
    }
}

/// Prints a line, if somebody reads.
pub fn say(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

//! Runs of the command.

use std::process::{Command, Output};

pub fn perdura() -> Command {
    Command::new(env!("CARGO_BIN_EXE_perdura"))
}

/// What a finished run said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("the command prints text");
        Said {
            code: output.status.code().expect("it was not killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> Said {
    command.output().unwrap().into()
}

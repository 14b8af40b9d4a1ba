//! `perdura check-replay`: the code is in the user's program, so the check is there too.

use std::process::ExitCode;

/// Whoever asks for the wrong thing gets this code.
const EXIT_SETTINGS: u8 = 2;

pub fn run() -> ExitCode {
    eprintln!(
        "perdura: a replay needs your code, which this command does not have. Call it from your program:\n\n    \
         for check in engine.check_replay(InstanceQuery::default(), 1000).await? {{\n        \
         println!(\"{{}}: {{:?}}\", check.id, check.replay);\n    }}\n\n\
         It runs the registered code over stored histories, without any effect, and says which instances would be\n\
         blocked, and at which event."
    );
    ExitCode::from(EXIT_SETTINGS)
}

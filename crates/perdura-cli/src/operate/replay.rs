//! `perdura check-replay`: the code is in the user's program, so the check is there too.

use crate::out;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// Whoever asks for the wrong thing gets this code.
const EXIT_SETTINGS: u8 = 2;

const WHY: &str = "a replay needs your code, which this command does not have. Call it from your program:

    for check in engine.check_replay(InstanceQuery::default(), 1000).await? {
        println!(\"{}: {:?}\", check.id, check.replay);
    }

It runs the registered code over stored histories, without any effect, and says which instances would be
blocked, and at which event.";

#[derive(Args, Debug)]
pub struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    match options.json {
        true => out::line(json!({ "what": "refused", "why": WHY }))?,
        false => eprintln!("perdura: {WHY}"),
    }
    Ok(ExitCode::from(EXIT_SETTINGS))
}

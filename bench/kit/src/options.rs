//! The command line.

use std::time::{Duration, Instant};

/// What to run: `WORKLOAD [--concurrency C] [--count N] [--seconds S] [--store URL] [--json]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The workload's name: `w1` to `w7`, `w8-load`, `w8-recover`, or one that only the harness knows.
    pub workload: String,
    /// How many are in flight at once.
    pub concurrency: Option<u64>,
    /// How many in all.
    pub count: Option<u64>,
    /// How long, for the workloads that run for a time.
    pub seconds: Option<f64>,
    /// Where the engine keeps its state; only for harnesses that can choose.
    pub store: Option<String>,
    /// One JSON line for each result, no table.
    pub json: bool,
    /// When the process began.
    pub began: Instant,
}

impl Options {
    /// Reads the command line; tells what is wrong with it and ends the process if it cannot be understood.
    #[must_use]
    pub fn from_args() -> Options {
        match Options::parse(std::env::args().skip(1)) {
            Ok(options) => options,
            Err(why) => {
                eprintln!(
                    "{why}\nusage: WORKLOAD [--concurrency C] [--count N] [--seconds S] [--store URL] [--json]"
                );
                std::process::exit(2)
            }
        }
    }

    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            workload: String::new(),
            concurrency: None,
            count: None,
            seconds: None,
            store: None,
            json: false,
            began: Instant::now(),
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--concurrency" | "-c" => options.concurrency = Some(number(&arg, &value()?)?),
                "--count" | "-n" => options.count = Some(number(&arg, &value()?)?),
                "--seconds" | "-s" => options.seconds = Some(number(&arg, &value()?)?),
                "--store" => options.store = Some(value()?),
                "--json" => options.json = true,
                name if !name.starts_with('-') && options.workload.is_empty() => options.workload = arg,
                other => return Err(format!("I do not know {other}")),
            }
        }
        if options.workload.is_empty() { Err("which workload?".into()) } else { Ok(options) }
    }

    /// How long a workload that runs for a time lasts.
    #[must_use]
    pub fn duration(&self, default_seconds: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(default_seconds))
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} needs a number, not {text}"))
}

//! The command line of the simulation.

use perdura_sim::{Options, PlantedBug, run};
use std::process::ExitCode;

const USAGE: &str = "\
perdura-simulate [--seeds N] [--from S] [--threads T] [--bug NAME] [--all] [--trace]

Runs the engine's core against a simulated store under faults, and checks the invariants.
  --seeds N    how many seeds (1000)
  --from S     the first seed (0)
  --threads T  threads (1)
  --bug NAME   plant a bug; --bug list names them
  --all        go on after a broken invariant, and list them
  --trace      print what happens in the first seed";

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(Some(options)) => {
            let report = run(&options);
            for line in &report.trace {
                println!("{line}");
            }
            print!("{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number =
            |text: String| text.parse::<u64>().map_err(|_| format!("{argument}: {text:?} is no number"));
        match argument.as_str() {
            "--seeds" => options.seeds = number(value()?)?,
            "--from" => options.from = number(value()?)?,
            "--threads" => options.threads = number(value()?)? as usize,
            "--all" => options.go_on = true,
            "--trace" => options.trace = true,
            "--bug" => {
                let name = value()?;
                if name == "list" {
                    PlantedBug::all().for_each(|bug| println!("{}", bug.name()));
                    return Ok(None);
                }
                let bug = PlantedBug::named(&name).ok_or(format!("no planted bug is named {name:?}"))?;
                options.bug = Some(bug);
            }
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(Some(options))
}

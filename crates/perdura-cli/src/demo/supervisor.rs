//! Starts the pipeline's process, kills it half-way, starts it again, and reports.

use super::file_path::FilePath;
use super::pipeline::Summary;
use super::progress::{Bar, Line};
use super::{Options, Places, evidence, files};
use crate::escape::escape;
use crate::out;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

pub async fn run(options: &Options, places: &Places) -> anyhow::Result<ExitCode> {
    let _lock = lock(places)?;
    clear(places)?;
    let (total, special) = count_files(places);
    out::say(format_args!("archiving {total} files of {} to {}", shown(&places.dir), shown(&places.out)));
    if special > 0 {
        out::say(format_args!("left out: {special} links, devices, pipes or sockets"));
    }
    let began = Instant::now();
    let mut bar = Bar::new(total);
    let mut killed = None;
    // Of a single file there is no half.
    if !options.no_kill && total > 1 {
        let (mut first, _leash) = spawn(options, Some(total / 2))?;
        match follow(&mut first, &mut bar, 0).await? {
            Told::Finished(summary) => {
                out::say(format_args!(
                    "so few files could be read that half of them were never done: nothing was killed"
                ));
                return report(places, &summary, None, began);
            }
            Told::HalfWay => killed = Some(kill(first, places, total, &bar).await?),
        }
    }
    let (mut last, _leash) = spawn(options, None)?;
    let process = last.id().unwrap_or_default();
    let already = killed.as_ref().map_or(0, |recorded| recorded.len() as u64);
    let Told::Finished(summary) = follow(&mut last, &mut bar, already).await? else {
        bail!("the pipeline's process stopped half-way although nobody asked it to");
    };
    last.wait().await?;
    bar.end();
    report(places, &summary, killed.map(|recorded| (recorded, process)), began)
}

/// Half of the files are done; that half of them are recorded follows within a commit or two.
const RECORDING_TIME_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Kills the process when half of the files are recorded; gives the files whose completion was recorded by then.
async fn kill(
    mut process: Child,
    places: &Places,
    total: u64,
    bar: &Bar,
) -> anyhow::Result<BTreeSet<FilePath>> {
    let number = process.id().unwrap_or_default();
    let recorded = async || evidence::recorded(places).await.map_or(0, |files| files.len() as u64);
    let until = Instant::now() + RECORDING_TIME_MAX;
    while recorded().await < total / 2 && Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    // SIGKILL: no destructor runs, nothing is flushed.
    process.kill().await?;
    bar.end();
    let recorded = evidence::recorded(places).await?;
    out::say(format_args!(
        "killed process {number} with SIGKILL: {} of {total} files are recorded as done; starting again",
        recorded.len()
    ));
    Ok(recorded)
}

/// Two runs must not write to one place.
fn lock(places: &Places) -> anyhow::Result<File> {
    let path = places.out.join(".perdura-lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        bail!(
            "another demo is writing to {}; wait for it, or name another place with --out",
            shown(&places.out)
        );
    }
    Ok(file)
}

/// Removes what an earlier run left for its own use. Copies are overwritten, not removed.
fn clear(places: &Places) -> anyhow::Result<()> {
    let own = places.out.join(".perdura");
    std::fs::remove_dir_all(&own).with_context(|| own.display().to_string())?;
    std::fs::create_dir_all(&own)?;
    Ok(())
}

/// How many files there are, and how many things that are neither file nor folder.
fn count_files(places: &Places) -> (u64, u64) {
    let in_folder = |folder: &FilePath| {
        files::files(places, &folder.to_path())
            .map_or((0, 0), |found| (found.names.len() as u64, found.special))
    };
    files::folders(places).iter().map(in_folder).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn shown(path: &Path) -> FilePath {
    FilePath::from(path)
}

/// Starts the pipeline's process, which ends when the other end of its standard input does: it never outlives this one.
fn spawn(options: &Options, hold_at: Option<u64>) -> anyhow::Result<(Child, ChildStdin)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--worker"]).arg("--out").arg(&options.out);
    if let Some(dir) = &options.dir {
        command.arg("--dir").arg(dir);
    }
    if let Some(hold_at) = hold_at {
        command.args(["--hold-at", &hold_at.to_string()]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let leash = child.stdin.take().context("the input of the pipeline's process")?;
    Ok((child, leash))
}

/// What the pipeline's process told last.
enum Told {
    HalfWay,
    Finished(Box<Summary>),
}

/// Shows what the process tells, until it is half-way (if it was asked to stop there) or finished.
async fn follow(child: &mut Child, bar: &mut Bar, already: u64) -> anyhow::Result<Told> {
    let output = child.stdout.take().context("the output of the pipeline's process")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(Line::Done(done)) => bar.show(already + done),
            Ok(Line::HalfWay) => return Ok(Told::HalfWay),
            Ok(Line::Finished(summary)) => return Ok(Told::Finished(summary)),
            Err(_) => bail!("the pipeline's process printed {line:?}"),
        }
    }
    bail!("the pipeline's process ended early: {}", child.wait().await?)
}

/// Says what happened. `killed`: what was recorded at the kill, and the process that went on. It is a failure if one of
/// those files was run again, or a file could not be archived.
fn report(
    places: &Places,
    summary: &Summary,
    killed: Option<(BTreeSet<FilePath>, u32)>,
    began: Instant,
) -> anyhow::Result<ExitCode> {
    let seconds = began.elapsed().as_secs_f64();
    let Summary { files, folders, bytes, stored_bytes, .. } = summary;
    out::say(format_args!(
        "done in {seconds:.1} s: {files} files in {folders} folders, {bytes} bytes, {stored_bytes} stored"
    ));
    let mut repeated = 0;
    if let Some((recorded, process)) = killed {
        let runs = evidence::runs(places)?;
        let after: Vec<_> = runs.get(&process).into_iter().flatten().collect();
        repeated = after.iter().filter(|file| recorded.contains(**file)).count();
        let (ran, before) = (after.len(), recorded.len());
        out::say(format_args!(
            "after the kill {ran} files were run; of the {before} recorded before it, {repeated} ran again"
        ));
    }
    for file in &summary.unreadable {
        out::say(format_args!("not archived: {}", escape(file)));
    }
    let unnamed = summary.unreadable_count - summary.unreadable.len() as u64;
    if unnamed > 0 {
        out::say(format_args!("… and {unnamed} more"));
    }
    out::say(format_args!("check it: sha256sum --quiet -c {}", shown(&places.manifest())));
    let good = repeated == 0 && summary.unreadable_count == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `perdura demo`: a pipeline over a real directory, killed half-way with SIGKILL.
//!
//! The command is a supervisor. It runs the pipeline in a process of its own (`demo --worker`), kills that process when
//! half of the files are done, starts it again, and at the end checks that nothing ran twice whose result was recorded.

mod evidence;
mod file_path;
mod files;
mod manifest;
mod pipeline;
mod progress;
mod supervisor;
mod worker;

use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Folders that are left out when no directory is named and the present one is archived.
const LEFT_OUT_BY_DEFAULT: [&str; 2] = [".git", "target"];

/// Archive a directory: a parent orchestration, a child for each folder, an activity for each file that computes its
/// SHA-256 and stores a compressed copy.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The directory to archive [default: the present one, without .git and target]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Where the copies, MANIFEST.sha256 and the hub file go
    #[arg(long, value_name = "PATH", default_value = "target/perdura-demo")]
    out: PathBuf,
    /// Do not kill the process half-way
    #[arg(long)]
    no_kill: bool,
    /// Run the pipeline in this process (what the supervisor starts)
    #[arg(long, hide = true)]
    worker: bool,
    /// Begin no more files once this many are done
    #[arg(long, hide = true, value_name = "FILES")]
    hold_at: Option<u64>,
}

/// Directories and files of one run.
#[derive(Clone, Debug)]
struct Places {
    dir: PathBuf,
    out: PathBuf,
    left_out: Vec<String>,
}

impl Places {
    fn new(options: &Options) -> anyhow::Result<Places> {
        use anyhow::Context;
        let dir = options.dir.clone().unwrap_or_else(|| ".".into());
        let dir = dir.canonicalize().with_context(|| format!("the directory {}", dir.display()))?;
        anyhow::ensure!(dir.is_dir(), "{} is not a directory", dir.display());
        let named = || format!("the output directory {}", options.out.display());
        std::fs::create_dir_all(&options.out).with_context(named)?;
        let out = options.out.canonicalize().with_context(named)?;
        anyhow::ensure!(
            !dir.starts_with(&out),
            "{} is inside the output directory {}; name another one with --out",
            dir.display(),
            out.display()
        );
        std::fs::create_dir_all(out.join(".perdura")).with_context(named)?;
        let left_out =
            if options.dir.is_none() { LEFT_OUT_BY_DEFAULT.map(String::from).into() } else { Vec::new() };
        Ok(Places { dir, out, left_out })
    }

    fn hub(&self) -> PathBuf {
        self.out.join(".perdura/hub.db")
    }

    /// All folders, a line each.
    fn folders(&self) -> PathBuf {
        self.out.join(".perdura/folders")
    }

    /// A line for each run of the activity that archives a file.
    fn runs(&self) -> PathBuf {
        self.out.join(".perdura/runs")
    }

    /// Where files are written before they are moved to their place.
    fn partial(&self) -> PathBuf {
        self.out.join(".perdura/partial")
    }

    fn parts(&self) -> PathBuf {
        self.out.join(".perdura/parts")
    }

    fn manifest(&self) -> PathBuf {
        self.out.join("MANIFEST.sha256")
    }

    fn copies(&self) -> PathBuf {
        self.out.join("files")
    }
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let places = Places::new(&options)?;
    if options.worker {
        worker::run(&places, options.hold_at).await
    } else {
        supervisor::run(&options, &places).await
    }
}

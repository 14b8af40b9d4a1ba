//! Real processes: the server, and programs in other languages.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

fn sdk(language: &str) -> PathBuf {
    let place = std::env::var_os("PERDURA_SDK_DIR").map_or_else(|| root().join("target/sdk"), PathBuf::from);
    let place = place.join(language);
    assert!(place.exists(), "{} is not there; run scripts/{language}-sdk first", place.display());
    place
}

/// A process that does not outlive the test.
pub struct Running(Child);

impl Running {
    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub fn wait(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "it ended with {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `perdura serve` on a directory of its own.
pub struct Server {
    directory: tempfile::TempDir,
    address: String,
    settings: Vec<String>,
    process: Option<Running>,
}

impl Server {
    pub fn new() -> Server {
        Server::with(&[])
    }

    /// One with more settings.
    pub fn with(settings: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Server { directory, address: "127.0.0.1:0".to_owned(), settings, process: None };
        server.start();
        server
    }

    /// The same address for its whole life, over all restarts.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// A file in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn start(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_perdura"))
            .args(["serve", "--listen", &self.address, "--data"])
            .arg(self.directory.path().join("hubs"))
            .args(&self.settings)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.process = Some(Running(child));
        let mut addresses = lines
            .map_while(Result::ok)
            .filter_map(|l| Some(l.strip_prefix("Listening on http://")?.to_owned()));
        self.address = addresses.next().expect("the server did not start");
    }

    /// Ends it by kill -9.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }
}

/// A program of an SDK.
pub struct Program(Command);

impl Program {
    pub fn python(path: &str) -> Program {
        let mut command = Command::new(sdk("python").join("bin/python"));
        command.arg("-W").arg("ignore::DeprecationWarning").arg(root().join(path));
        // Programs share a module, and leave nothing in the source tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Program(command)
    }

    pub fn javascript(path: &str) -> Program {
        let modules = sdk("javascript").join("node_modules");
        let mut command = Command::new("node");
        command.arg(root().join(path)).env("NODE_PATH", modules);
        Program(command)
    }

    pub fn java(class: &str) -> Program {
        let place = sdk("java");
        let mut classes = place.join("classes").into_os_string();
        classes.push(":");
        classes.push(place.join("lib/*"));
        let mut command = Command::new("java");
        command.arg("-cp").arg(classes).arg(class);
        Program(command)
    }

    pub fn go(name: &str) -> Program {
        Program(Command::new(sdk("go").join(name)))
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.0.arg(arg);
        self
    }

    /// Runs it to its end, which must be a good one.
    pub fn run(self) {
        self.spawn().wait();
    }

    pub fn spawn(mut self) -> Running {
        Running(self.0.spawn().unwrap())
    }
}

//! The load's process, as a test holds it.

use perdura_durability::{
    Answer, Ask, Command, LoadOptions, Program, Refusal, Reply, Reuse, Transcript, read_evidence,
};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running load. Dropping it kills it.
pub(crate) struct Load {
    process: Child,
    input: Option<ChildStdin>,
    replies: Receiver<Reply>,
    /// Ends with what the process has said of panics.
    panics: Option<JoinHandle<String>>,
    early: Vec<Reply>,
    next: u64,
}

impl Load {
    /// Starts the process. Whether its engine starts is not known yet.
    pub(crate) fn spawn(options: &LoadOptions) -> Load {
        let options = serde_json::to_string(options).unwrap();
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_durability-load"))
            .arg(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            // A line that a kill has cut off is one that was never said.
            for reply in output.lines().map_while(Result::ok).map_while(|l| serde_json::from_str(&l).ok()) {
                if sender.send(reply).is_err() {
                    break;
                }
            }
        });
        let errors = BufReader::new(process.stderr.take().unwrap());
        let panics = std::thread::spawn(move || {
            let lines = errors.lines().map_while(Result::ok).inspect(|line| eprintln!("{line}"));
            lines.skip_while(|line| !line.contains("panicked at")).take(2).collect::<Vec<_>>().join("\n")
        });
        let panics = Some(panics);
        Load { process, input, replies, panics, early: Vec::new(), next: 1 }
    }

    /// Starts the process and waits until its engine runs.
    pub(crate) fn start(options: &LoadOptions) -> Load {
        let mut load = Load::spawn(options);
        load.ready().unwrap_or_else(|refusal| panic!("the engine does not start: {refusal:?}"));
        load
    }

    /// Waits until the engine runs, or says why it does not.
    pub(crate) fn ready(&mut self) -> Result<Answer, Refusal> {
        self.outcome(0)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks without waiting. A process that is dead does not hear it.
    pub(crate) fn send(&mut self, command: Command) -> u64 {
        let number = self.next;
        self.next += 1;
        let mut line = serde_json::to_vec(&Ask { number, command }).unwrap();
        line.push(b'\n');
        let _ = self.input.as_mut().unwrap().write_all(&line);
        number
    }

    /// Waits for the answer to a question.
    pub(crate) fn outcome(&mut self, number: u64) -> Result<Answer, Refusal> {
        if let Some(at) = self.early.iter().position(|reply| reply.number == number) {
            return self.early.swap_remove(at).outcome;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.reply_before(until) {
                Some(reply) if reply.number == number => return reply.outcome,
                Some(reply) => self.early.push(reply),
                None => panic!("no answer to question {number}; the process: {:?}", self.process.try_wait()),
            }
        }
    }

    pub(crate) fn ask(&mut self, command: Command) -> Result<Answer, Refusal> {
        let number = self.send(command);
        self.outcome(number)
    }

    /// The next reply, whatever it answers; `None` when the time has come, or the process has ended.
    pub(crate) fn reply_before(&mut self, until: Instant) -> Option<Reply> {
        self.replies.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Kills it by SIGKILL. What it said before that counts.
    pub(crate) fn kill(mut self) -> Vec<Reply> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.has_not_panicked();
        std::mem::take(&mut self.early).into_iter().chain(self.replies.iter()).collect()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let status = std::process::Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it gracefully.
    pub(crate) fn shut_down(mut self) {
        assert_eq!(self.ask(Command::Shutdown), Ok(Answer::Done));
        drop(self.input.take());
        assert!(self.process.wait().unwrap().success());
        self.has_not_panicked();
    }

    /// The engine outlives its panics, so somebody has to look.
    fn has_not_panicked(&mut self) {
        let panics = self.panics.take().unwrap().join().unwrap();
        assert!(panics.is_empty(), "{panics}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A start that fails if the id is taken.
pub(crate) fn start(id: &str, program: Program) -> Command {
    Command::Start { id: id.into(), program, reuse: Reuse::Fail, request: format!("start {id}") }
}

/// What an instance returned.
pub(crate) fn output(answer: Result<Answer, Refusal>) -> Transcript {
    match answer {
        Ok(Answer::Instance { output: Some(output), .. }) => output,
        other => panic!("not an instance with an output: {other:?}"),
    }
}

/// Waits until so many attempts of activities have begun. Only the file tells that.
pub(crate) fn evidence_of(options: &LoadOptions, attempts: usize) {
    let until = Instant::now() + PATIENCE;
    while read_evidence(&options.evidence).unwrap().len() < attempts {
        assert!(Instant::now() < until, "fewer than {attempts} attempts begin");
        std::thread::sleep(Duration::from_millis(2));
    }
}

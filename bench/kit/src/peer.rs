//! What a workload asks of an engine.

use std::future::Future;

/// A result whose error is only printed.
pub type Outcome<T> = Result<T, String>;

/// The orchestrations that each harness has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// As many activities in sequence as the input says; gives the last one's output.
    Sequence,
    /// As many activities at once as the input says; gives how many there were.
    FanOut,
    /// Waits for the event `go` and gives its data.
    Event,
    /// As many children at once as the input says, each of them [`Work::Sequence`] of one; gives how many there were.
    Parent,
    /// Sleeps as many milliseconds as the input says and gives it back.
    Timer,
}

impl Work {
    /// The name it is registered under.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Work::Sequence => "seq",
            Work::FanOut => "fan",
            Work::Event => "event",
            Work::Parent => "parent",
            Work::Timer => "timer",
        }
    }
}

/// An engine with its worker and a client.
pub trait Peer: Send + Sync + 'static {
    /// What was measured.
    fn versions(&self) -> String;

    /// Starts an orchestration; returns when the start is durable, as the engine's own acknowledgement says.
    fn start(&self, work: Work, id: &str, input: String) -> impl Future<Output = Outcome<()>> + Send;

    /// Waits for an orchestration's end by the engine's own client call and gives its output.
    fn wait(&self, work: Work, id: &str) -> impl Future<Output = Outcome<String>> + Send;

    /// Sends the event `go`; returns when it is acknowledged.
    fn raise(&self, id: &str, data: String) -> impl Future<Output = Outcome<()>> + Send;

    /// Starts an orchestration and waits for its end.
    fn run(&self, work: Work, id: &str, input: String) -> impl Future<Output = Outcome<String>> + Send {
        async move {
            self.start(work, id, input).await?;
            self.wait(work, id).await
        }
    }
}

//! What a worker tells the server while activities run, and hears of them: heartbeats go up, and word of the attempts that
//! nobody waits for any more comes down. A server without that service is not asked again.

use crate::connection::AttendanceGrpc;
use bytes::Bytes;
use futures_util::stream;
use perdura_proto::attendance::{Attended, Heartbeat};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// Words that may wait to be said; a heartbeat that finds no room is dropped: the next one says the same.
const WORDS_MAX: usize = 1024;
/// How long to wait before connecting again, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Speaks of the activities of one worker, as long as one of its clones is there.
#[derive(Clone)]
pub(crate) struct Attendant {
    said: mpsc::Sender<Said>,
}

enum Said {
    Begun { token: String, canceled: CancellationToken },
    Heartbeat { token: String, details: Option<Bytes> },
    Ended { token: String },
}

impl Attendant {
    pub(crate) fn start(grpc: AttendanceGrpc) -> Attendant {
        let (said, words) = mpsc::channel(WORDS_MAX);
        tokio::spawn(Attending { grpc, said: words, running: HashMap::new() }.run());
        Attendant { said }
    }

    /// An attempt begins: `canceled` is cancelled when nobody waits for it any more.
    pub(crate) async fn begun(&self, token: &str, canceled: CancellationToken) {
        // An error means that the runtime is being shut down.
        let _ = self.said.send(Said::Begun { token: token.to_owned(), canceled }).await;
    }

    pub(crate) async fn ended(&self, token: String) {
        let _ = self.said.send(Said::Ended { token }).await;
    }

    /// Where the heartbeats of an attempt go.
    pub(crate) fn heartbeat(&self, token: &str) -> Arc<dyn Fn(Option<Bytes>) + Send + Sync> {
        let (said, token) = (self.said.clone(), token.to_owned());
        Arc::new(move |details| {
            let _ = said.try_send(Said::Heartbeat { token: token.clone(), details });
        })
    }
}

struct Attending {
    grpc: AttendanceGrpc,
    said: mpsc::Receiver<Said>,
    running: HashMap<String, Running>,
}

struct Running {
    canceled: CancellationToken,
    /// The last heartbeat, if there is no stream to say it on yet.
    heartbeat: Option<Heartbeat>,
}

/// How a stream ended.
enum End {
    /// The worker has gone.
    Over,
    Lost(Status),
}

impl Attending {
    async fn run(mut self) {
        let mut pause = RECONNECT.0;
        loop {
            // Who runs nothing needs no stream.
            while self.running.is_empty() {
                let Some(said) = self.said.recv().await else { return };
                self.note(said);
            }
            let status = match self.attend(&mut pause).await {
                End::Over => return,
                End::Lost(status) => status,
            };
            if status.code() == Code::Unimplemented {
                tracing::info!("the server has no service for heartbeats: those of activities stay here");
                while self.said.recv().await.is_some() {}
                return;
            }
            tracing::debug!(code = ?status.code(), message = status.message(), "the stream of heartbeats has ended");
            if self.listen_while(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(RECONNECT.1);
        }
    }

    /// What is said meanwhile is kept: nobody who begins or ends an attempt waits for a stream. `None` if the worker has gone.
    async fn listen_while<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return Some(done),
                said = self.said.recv() => {
                    let Some(Attended { completion_token, heartbeat: Some(heartbeat), .. }) = self.note(said?) else {
                        continue;
                    };
                    if let Some(running) = self.running.get_mut(&completion_token) {
                        running.heartbeat = Some(heartbeat);
                    }
                }
            }
        }
    }

    /// Keeps what is to be said to the server, and gives the message.
    fn note(&mut self, said: Said) -> Option<Attended> {
        let attended = |completion_token| Attended { completion_token, ..Attended::default() };
        match said {
            Said::Begun { token, canceled } => {
                self.running.insert(token.clone(), Running { canceled, heartbeat: None });
                Some(attended(token))
            }
            Said::Heartbeat { token, details } => self.running.contains_key(&token).then(|| {
                let details = details.map(|details| details.to_vec());
                Attended { heartbeat: Some(Heartbeat { details }), ..attended(token) }
            }),
            Said::Ended { token } => {
                self.running.remove(&token);
                Some(Attended { ended: true, ..attended(token) })
            }
        }
    }

    /// One stream, from its beginning to its end.
    async fn attend(&mut self, pause: &mut Duration) -> End {
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let heard = stream::unfold(heard, async |mut heard| heard.recv().await.map(|word| (word, heard)));
        let mut grpc = self.grpc.clone();
        let mut unwanted = match self.listen_while(grpc.attend(heard)).await {
            Some(Ok(unwanted)) => unwanted.into_inner(),
            Some(Err(status)) => return End::Lost(status),
            None => return End::Over,
        };
        *pause = RECONNECT.0;
        let known = self.running.iter_mut().map(|(token, running)| Attended {
            completion_token: token.clone(),
            heartbeat: running.heartbeat.take(),
            ended: false,
        });
        let mut unsaid: VecDeque<Attended> = known.collect();
        loop {
            tokio::select! {
                // Those it speaks of have begun or ended already: they do not wait until it is heard.
                said = self.said.recv(), if unsaid.len() < WORDS_MAX => match said {
                    Some(said) => unsaid.extend(self.note(said)),
                    None => return End::Over,
                },
                room = words.reserve(), if !unsaid.is_empty() => match (room, unsaid.pop_front()) {
                    (Ok(room), Some(word)) => room.send(word),
                    _ => return End::Lost(Status::unavailable("nobody listens")),
                },
                message = unwanted.message() => match message {
                    Ok(Some(unwanted)) => {
                        if let Some(running) = self.running.get(&unwanted.completion_token) {
                            running.canceled.cancel();
                        }
                    }
                    Ok(None) => return End::Lost(Status::unavailable("the server closed it")),
                    Err(status) => return End::Lost(status),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_activity_waits_for_a_server_that_does_not_hear() {
        let nobody = crate::Connection::new("http://127.0.0.1:1").expect("an address");
        let attendant = Attendant::start(nobody.attendance());
        for number in 0..2 * WORDS_MAX {
            let token = number.to_string();
            attendant.begun(&token, CancellationToken::new()).await;
            attendant.heartbeat(&token)(None);
            attendant.ended(token).await;
        }
    }
}

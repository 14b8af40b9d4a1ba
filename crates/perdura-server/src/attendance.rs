//! Attempts of activities that workers of this project run: their heartbeats go to the engine, and the workers learn which
//! of them nobody waits for any more. They also say when they leave.

use crate::hub::Hubs;
use crate::service::hub_of;
use crate::work_items::{Attempt, Board};
use futures_util::{Stream, stream};
use perdura_proto::attendance::attendance_server::{Attendance, AttendanceServer};
use perdura_proto::attendance::{Attended, Leaving, Left, Unwanted};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Request, Response, Status, Streaming};

/// Attempts that one stream may name at once: as many as a worker can run.
const ATTEMPTS_MAX: usize = u16::MAX as usize + 1;
/// Words that may wait for a worker that reads slowly; the others wait here.
const WORDS_MAX: usize = 16;

/// See the module.
#[derive(Clone)]
pub(crate) struct AttendanceService {
    hubs: Arc<Hubs>,
}

impl AttendanceService {
    pub(crate) fn new(hubs: Arc<Hubs>) -> AttendanceServer<AttendanceService> {
        AttendanceServer::new(AttendanceService { hubs })
    }
}

#[tonic::async_trait]
impl Attendance for AttendanceService {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<Unwanted, Status>> + Send>>;

    async fn attend(
        &self,
        request: Request<Streaming<Attended>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let board = hub_of(&self.hubs, request.metadata()).await?.board.clone();
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let attending = Attending { board, watched: FxHashMap::default(), canceled: JoinSet::new() };
        tokio::spawn(attending.run(request.into_inner(), words));
        let heard = stream::unfold(heard, async |mut heard| heard.recv().await.map(|word| (word, heard)));
        Ok(Response::new(Box::pin(heard)))
    }

    async fn leave(&self, request: Request<Leaving>) -> Result<Response<Left>, Status> {
        let board = hub_of(&self.hubs, request.metadata()).await?.board.clone();
        let name = request.into_inner().worker_instance_id;
        match board.leave(&name) {
            true => Ok(Response::new(Left {})),
            false => Err(Status::not_found(format!("no worker {name:?} is connected"))),
        }
    }
}

/// What is known of the attempts of one stream.
struct Attending {
    board: Arc<Board>,
    /// Attempts that are waited for, each with what watches for the end of that.
    watched: FxHashMap<String, AbortHandle>,
    /// Gives the token of an attempt when nobody waits for it any more.
    canceled: JoinSet<String>,
}

impl Attending {
    /// Until the worker goes away, or the hub is closed.
    async fn run(mut self, mut said: Streaming<Attended>, words: mpsc::Sender<Result<Unwanted, Status>>) {
        let over = self.board.over().clone();
        let mut unwanted = VecDeque::new();
        loop {
            tokio::select! {
                message = said.message(), if unwanted.len() < ATTEMPTS_MAX => match message {
                    Ok(Some(attended)) if self.watched.len() < ATTEMPTS_MAX => unwanted.extend(self.hear(attended)),
                    Ok(Some(_)) => {
                        let text = format!("more than {ATTEMPTS_MAX} attempts are attended; say of each when it has ended");
                        let _ = words.send(Err(Status::resource_exhausted(text))).await;
                        return;
                    }
                    Ok(None) | Err(_) => break,
                },
                Some(canceled) = self.canceled.join_next() => {
                    // One that was let go because it has ended is an error here.
                    if let Ok(token) = canceled {
                        self.watched.remove(&token);
                        unwanted.push_back(token);
                    }
                }
                Ok(room) = words.reserve(), if !unwanted.is_empty() => {
                    if let Some(completion_token) = unwanted.pop_front() {
                        room.send(Ok(Unwanted { completion_token }));
                    }
                }
                () = words.closed() => return,
                () = over.cancelled() => return,
            }
        }
        // It says nothing more, and may still want to hear.
        for completion_token in unwanted {
            let _ = words.send(Ok(Unwanted { completion_token })).await;
        }
    }

    /// Takes word of an attempt; gives its token back if nobody waits for it.
    fn hear(&mut self, attended: Attended) -> Option<String> {
        let token = attended.completion_token;
        if attended.ended {
            if let Some(watch) = self.watched.remove(&token) {
                watch.abort();
            }
            return None;
        }
        let activity = match self.board.attended(&token) {
            Attempt::Awaited(activity) => activity,
            Attempt::Late => return None,
            Attempt::Unwanted => return Some(token),
        };
        if let Some(heartbeat) = attended.heartbeat {
            (activity.task.heartbeat)(heartbeat.details.map(Into::into));
        }
        if !self.watched.contains_key(&token) {
            let (canceled, name) = (activity.task.canceled.clone(), token.clone());
            let watch = self.canceled.spawn(async move {
                canceled.cancelled().await;
                name
            });
            self.watched.insert(token, watch);
        }
        None
    }
}

//! How a rewind is asked for.

use super::ClientError;
use crate::payload::ToPayload;
use perdura_core::Timestamp;
use perdura_core::rewind::{Head, Replaced, RewindOrder, RewindSpec, RewindTo, Timers};
use perdura_engine::{Act, Batch, Selection};

/// A rewind: who goes back, why, where to, and how. Without more it undoes what ended the instance: the failure that
/// nobody caught, the termination, the request to cancel, or the last turn.
///
/// ```no_run
/// # use perdura::prelude::*;
/// # use perdura::Rewind;
/// # async fn example(engine: Engine) -> Result<()> {
/// let order = engine.instance("order-42");
/// let rewind = Rewind::by("ada", "the payment service is up again");
/// println!("{:#?}", order.plan_rewind(&rewind).await?);
/// order.rewind(rewind).await?;
/// # Ok(())
/// # }
/// ```
///
/// Results that are recorded are not lost: what arrived after the cut for work from before it is delivered again, and so
/// are external events; when the code asks for the same work again (same name, same input), it gets the result that it
/// had. Only what failed, and what never ended, runs.
#[derive(Clone, Debug, Default)]
pub struct Rewind {
    pub(super) spec: RewindSpec,
    pub(super) error: Option<ClientError>,
}

impl Rewind {
    /// A rewind by somebody, for a reason. Both are recorded.
    #[must_use]
    pub fn by(who: &str, why: &str) -> Rewind {
        let order = RewindOrder { by: who.into(), reason: why.into(), ..RewindOrder::default() };
        Rewind { spec: RewindSpec { order, ..RewindSpec::default() }, error: None }
    }

    fn to(mut self, to: RewindTo) -> Rewind {
        self.spec.to = to;
        self
    }

    /// Before the turn of an event of the history. If the event is of an activity or a child, that one runs again.
    #[must_use]
    pub fn to_event(self, event: u64) -> Rewind {
        self.to(RewindTo::Event(event))
    }

    /// Before a turn; the first is 1.
    #[must_use]
    pub fn to_turn(self, turn: u32) -> Rewind {
        self.to(RewindTo::Turn(turn))
    }

    /// Before the first turn that began at this time or later.
    #[must_use]
    pub fn to_time(self, time: Timestamp) -> Rewind {
        self.to(RewindTo::Time(time))
    }

    /// Before the first call of an activity or sub-orchestration, all calls of which run again.
    #[must_use]
    pub fn before_call(self, name: &str) -> Rewind {
        self.to(RewindTo::Call(name.into()))
    }

    /// To the beginning. With the results that are recorded this goes as far as they go, whatever a new version of the
    /// code has moved around.
    #[must_use]
    pub fn to_beginning(self) -> Rewind {
        self.to(RewindTo::Beginning)
    }

    /// To the end of another branch: an undone rewind. What the children did meanwhile is not undone.
    #[must_use]
    pub fn to_branch(mut self, branch: u32) -> Rewind {
        self.spec.branch = Some(branch);
        self.to(RewindTo::Head)
    }

    /// What becomes of timers that were pending; without this they get as much time as was left.
    #[must_use]
    pub fn timers(mut self, timers: Timers) -> Rewind {
        self.spec.order.timers = timers.into();
        self
    }

    /// Everything after the cut runs again, whatever it gave before.
    #[must_use]
    pub fn without_reuse(mut self) -> Rewind {
        self.spec.order.no_reuse = true;
        self
    }

    /// Calls of this name run again, whatever they gave before.
    #[must_use]
    pub fn rerun(mut self, name: &str) -> Rewind {
        self.spec.order.rerun.push(name.into());
        self
    }

    /// External events that came after the cut are not delivered again.
    #[must_use]
    pub fn drop_events(mut self) -> Rewind {
        self.spec.order.drop_events = true;
        self
    }

    /// Parents that failed with the instance are rewound too.
    #[must_use]
    pub fn with_parents(mut self) -> Rewind {
        self.spec.order.with_parents = true;
        self
    }

    /// An instance that has not ended is stopped where it is and rewound; a child whose parent has gone on without it goes
    /// on although nobody hears of its end.
    #[must_use]
    pub fn force(mut self) -> Rewind {
        self.spec.force = true;
        self
    }

    /// Another input for the instance; only [to the beginning](Self::to_beginning).
    #[must_use]
    pub fn input(mut self, value: &(impl ToPayload + ?Sized)) -> Rewind {
        match value.to_payload() {
            Ok(input) => self.spec.input = Some(input),
            Err(error) => self.error = Some(ClientError::payload(&error)),
        }
        self
    }

    /// Another input for an activity that was scheduled before the cut and runs again; `event` is any event of it.
    #[must_use]
    pub fn replace_input(mut self, event: u64, value: &(impl ToPayload + ?Sized)) -> Rewind {
        match value.to_payload() {
            Ok(payload) => self.spec.inputs.push(Replaced { event, payload }),
            Err(error) => self.error = Some(ClientError::payload(&error)),
        }
        self
    }

    /// A result for an activity or a child in the place of the one that it had, or would have; `event` is any event of it.
    #[must_use]
    pub fn replace_result(mut self, event: u64, value: &(impl ToPayload + ?Sized)) -> Rewind {
        match value.to_payload() {
            Ok(payload) => self.spec.results.push(Replaced { event, payload }),
            Err(error) => self.error = Some(ClientError::payload(&error)),
        }
        self
    }

    /// Only if the history still ends where a plan saw it end.
    #[must_use]
    pub fn expect_head(mut self, head: Head) -> Rewind {
        self.spec.head = Some(head);
        self
    }

    /// A batch of this rewind, for every instance that matches.
    pub fn batch(self, select: impl Into<Selection>) -> Result<Batch, ClientError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Batch::new(select, Act::Rewind(Box::new(self.spec)))),
        }
    }

    /// Makes a repeated rewind harmless: one with a request id that the instance has seen gets the first one's answer.
    #[must_use]
    pub fn request_id(mut self, request_id: &str) -> Rewind {
        self.spec.order.request_id = request_id.into();
        self
    }
}

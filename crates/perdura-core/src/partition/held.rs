//! What comes for an instance whose inbox is full: results wait until it has taken a turn, events are refused. Operations
//! for an entity whose queue is full wait, too, unless a client sends them: those are refused. Signals whose time has not
//! come have a room of their own, so that nobody waits for a far reminder.

use super::Partition;
use super::batch::EnvelopeId;
use super::entities::{Operation, Wanted, operation_weight};
use super::instance::Instance;
use super::message::{Body, Message, RaiseRefused};
use super::request::RequestError;
use super::wakes::Wake;
use crate::failure::{Failure, kind};
use crate::history::{Event, EventKind, EventRefused, ParentLink};
use crate::id::{InstanceId, InstanceKey};
use crate::limits::Limits;
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Something that waits for room in the inbox.
#[derive(Debug)]
pub(super) enum Held {
    /// The result of an activity; the task has it. It is in memory only: after a crash nobody knows of it.
    Result(u32),
    /// The answer of a child or of an entity, or an operation for an entity, with its envelope once it is in the store.
    Message(Box<Message>, Option<EnvelopeId>),
}

impl Instance {
    /// Bytes that wait for a turn.
    fn waiting_bytes(&self) -> usize {
        self.inbox.bytes() + self.away.as_ref().map_or(0, |away| away.bytes)
    }

    /// Whether its inbox, or the queue of an entity, may take one thing more.
    pub(super) fn has_room(&self, bytes_max: usize) -> bool {
        match &self.entity {
            Some(entity) => entity.has_room(bytes_max),
            None => self.room(bytes_max) > 0,
        }
    }

    /// Bytes that its inbox may take: an empty one takes one thing, however large.
    pub(super) fn room(&self, bytes_max: usize) -> usize {
        let waiting = self.waiting_bytes();
        bytes_max.saturating_sub(waiting).max(usize::from(waiting == 0))
    }

    /// Whether its inbox may take an external event.
    pub(super) fn check_room(
        &self,
        name: &str,
        input: &Option<Bytes>,
        limits: &Limits,
    ) -> Result<(), RequestError> {
        let (id, waiting) = (self.id.clone(), self.inbox.len() + self.away_events().len());
        if waiting >= limits.inbox_events_max {
            return Err(RequestError::InboxFull { id, limit: limits.inbox_events_max });
        }
        let event = name.len() + input.as_ref().map_or(0, Bytes::len);
        let (bytes, limit) = (self.waiting_bytes() + event, limits.inbox_bytes_max);
        // An inbox that is empty takes any event: the limit of payloads is another one.
        if bytes > limit && waiting > 0 {
            return Err(RequestError::InboxTooLarge { id, bytes, limit });
        }
        // The last tenth is for its own code.
        let (events, limit) = (self.record.tail + waiting as u64, limits.history_events_max);
        if events >= limit - limit / 10 {
            return Err(RequestError::HistoryFull { id, events, limit });
        }
        Ok(())
    }

    /// Puts a suspension or a resumption in the inbox. They are never refused, but when there is no room, those before that
    /// no turn has taken are forgotten: the code sees none of them.
    pub(super) fn note_pause(&mut self, event: Event, limits: &Limits) {
        if self.inbox.len() >= limits.inbox_events_max || !self.has_room(limits.inbox_bytes_max) {
            let mut events = self.inbox.take();
            events.retain(|event| {
                !matches!(event.kind, EventKind::ExecutionSuspended(_) | EventKind::ExecutionResumed(_))
            });
            self.inbox = events.into();
        }
        self.inbox.push(event);
    }

    /// Names a task of its present run to other instances.
    pub(super) fn link(&self, task: u32, attempt: u32) -> ParentLink {
        ParentLink {
            instance: self.id.as_str().to_owned(),
            generation: self.record.generation,
            branch: self.record.branch,
            task,
            attempt,
            execution: self.record.execution.to_bytes(),
            attached: false,
            name: self.record.name.clone(),
            version: self.record.version.clone(),
        }
    }
}

impl Instance {
    /// The next of what waits for room, if there is room for it.
    fn next_held(&mut self, bytes_max: usize) -> Option<Held> {
        if self.held.is_empty() || self.lacks_history_for_held() {
            return None;
        }
        let next = self.has_room(bytes_max).then(|| self.held.pop_front()).flatten();
        let has_room_later = || self.entity.as_deref().is_some_and(|entity| entity.has_room_later(bytes_max));
        next.or_else(|| has_room_later().then(|| self.held.pop_later()).flatten())
    }

    /// Whether the first that waits is a failure of which only the history says what follows.
    fn lacks_history_for_held(&self) -> bool {
        let Some(Held::Result(task)) = self.held.line().next() else { return false };
        let task = self.tasks.get(task);
        task.is_some_and(|task| task.scheduled.is_none() && matches!(task.ended, Some(Err(_))))
    }
}

impl Held {
    /// Whose call or lock request it is.
    fn asker(&self) -> Option<&ParentLink> {
        match self {
            Held::Message(message, _) => match &message.body {
                Some(Body::Operation(operation)) => operation.caller.as_ref(),
                Some(Body::Lock(request)) => request.holder.as_ref(),
                _ => None,
            },
            Held::Result(_) => None,
        }
    }
}

/// What waits for room. Most instances have nothing, and each has one of these: it takes 8 bytes.
#[derive(Debug, Default)]
pub(super) struct HeldQueue(Option<Box<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// In the order of arrival.
    line: VecDeque<Held>,
    /// Signals whose time has not come, by that time and by the order of arrival: nobody waits behind them.
    later: BTreeMap<(Timestamp, u64), Held>,
    arrivals: u64,
}

impl HeldQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |lines| lines.line.len() + lines.later.len())
    }

    fn line(&self) -> impl Iterator<Item = &Held> {
        self.0.iter().flat_map(|lines| lines.line.iter())
    }

    fn push_back(&mut self, held: Held) {
        self.0.get_or_insert_default().line.push_back(held);
    }

    fn push_later(&mut self, at: Timestamp, held: Held) {
        let lines = self.0.get_or_insert_default();
        lines.arrivals += 1;
        lines.later.insert((at, lines.arrivals), held);
    }

    /// When the first of the signals is due that wait for room among the delayed ones.
    fn first_later(&self) -> Option<Timestamp> {
        self.0.as_ref()?.later.keys().next().map(|(at, _)| *at)
    }

    fn pop_front(&mut self) -> Option<Held> {
        self.change(|lines| lines.line.pop_front())
    }

    fn pop_later(&mut self) -> Option<Held> {
        self.change(|lines| lines.later.pop_first().map(|(_, held)| held))
    }

    /// Takes the line; the caller puts back what stays of it.
    fn take_line(&mut self) -> VecDeque<Held> {
        self.change(|lines| Some(std::mem::take(&mut lines.line))).unwrap_or_default()
    }

    fn put_back(&mut self, line: VecDeque<Held>) {
        if !line.is_empty() {
            self.0.get_or_insert_default().line = line;
        }
    }

    fn take(&mut self) -> impl Iterator<Item = Held> + use<> {
        let lines = self.0.take().map_or_else(Lines::default, |lines| *lines);
        lines.line.into_iter().chain(lines.later.into_values())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.0.iter_mut().flat_map(|lines| lines.line.iter_mut().chain(lines.later.values_mut()))
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Lines) -> Option<T>) -> Option<T> {
        let lines = self.0.as_mut()?;
        let taken = change(lines);
        if lines.line.is_empty() && lines.later.is_empty() {
            self.0 = None;
        }
        taken
    }
}

impl Partition {
    /// How much waits for room at an instance or an entity, in memory: messages, and results of activities.
    #[must_use]
    pub fn held(&self, key: InstanceKey) -> usize {
        self.instances.get(&key).map_or(0, |instance| instance.held.len())
    }

    pub(super) fn must_wait_for_room(&self, key: InstanceKey, message: &Message) -> bool {
        let room = self.config.limits.inbox_bytes_max;
        let Some(instance) = self.instances.get(&key) else { return false };
        match &message.body {
            Some(Body::ChildEnded(_) | Body::OperationEnded(_)) => {
                instance.is_active() && !instance.has_room(room)
            }
            // Those of one sender come in order: nobody overtakes what waits already.
            Some(Body::Operation(operation)) => instance.entity.as_deref().is_some_and(|entity| {
                if operation.at != 0 {
                    return instance.held.first_later().is_some() || !entity.has_room_later(room);
                }
                let may_enter = instance.held.line().next().is_none() && entity.has_room(room);
                !(entity.is_of_holder(operation) || may_enter)
            }),
            Some(Body::Lock(_)) => instance.held.line().next().is_some(),
            _ => false,
        }
    }

    pub(super) fn hold_message(&mut self, key: InstanceKey, message: Message, envelope: Option<EnvelopeId>) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        self.holding.insert(key);
        let later = match &message.body {
            Some(Body::Operation(operation)) => Some(Timestamp(operation.at)).filter(|at| at.0 != 0),
            _ => None,
        };
        let held = Held::Message(Box::new(message), envelope);
        match later {
            Some(at) => {
                instance.held.push_later(at, held);
                self.wakes.add(at, key, Wake::Operations);
            }
            None => {
                let waits = held.asker().is_some();
                instance.held.push_back(held);
                if let Some(entity) = instance.entity.as_deref_mut().filter(|_| waits) {
                    entity.comes_to_wait();
                    self.watch_for_circle(key);
                }
            }
        }
    }

    pub(super) fn hold_result(
        &mut self,
        key: InstanceKey,
        task: u32,
        result: Result<Option<Bytes>, Failure>,
    ) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        if let Some(state) = instance.tasks.get_mut(&task).filter(|state| state.ended.is_none()) {
            state.ended = Some(result);
            let lacks_history = state.scheduled.is_none();
            instance.held.push_back(Held::Result(task));
            if lacks_history {
                self.want_history(key);
            }
        }
    }

    /// Something has left the inbox or the queue: what waited for room comes in.
    pub(super) fn take_held(&mut self, key: InstanceKey) {
        let room = self.config.limits.inbox_bytes_max;
        self.take_due_signals(key);
        while let Some(instance) = self.instances.get_mut(&key) {
            match instance.next_held(room) {
                Some(Held::Result(task)) => {
                    let ended = instance.tasks.get_mut(&task).and_then(|state| state.ended.take());
                    if let Some(result) = ended {
                        self.attempt_or_doubt_ended(key, task, result);
                    }
                }
                Some(Held::Message(message, envelope)) => self.take_message(*message, envelope, Some(key)),
                None => break,
            }
        }
    }

    /// Signals whose time has come enter the queue, as far as it has room, in the order of their times: when there may be
    /// room, and before anything that was sent after them.
    pub(super) fn take_due_signals(&mut self, key: InstanceKey) {
        let (now, limits) = (self.now, &self.config.limits);
        let (bytes_max, count_max) = (limits.inbox_bytes_max, limits.inbox_events_max);
        let Some(entity) = self.instances.get(&key).and_then(|instance| instance.entity.as_deref()) else {
            return;
        };
        // Those that found no room among the delayed ones join these: as many as the queue may take.
        let mut room = entity.room(bytes_max);
        while room > 0
            && let Some(instance) = self.instances.get_mut(&key)
            && instance.held.first_later().is_some_and(|at| at <= now)
            && let Some(Held::Message(message, envelope)) = instance.held.pop_later()
        {
            if let Some(Body::Operation(operation)) = &message.body {
                room = room.saturating_sub(operation_weight(operation));
            }
            self.take_message(*message, envelope, Some(key));
        }
        let entity = self.instances.get_mut(&key).and_then(|instance| instance.entity.as_deref_mut());
        let due = entity.map_or_else(Vec::new, |entity| entity.take_due(now, bytes_max, count_max));
        if due.is_empty() {
            return;
        }
        for operation in due {
            self.rely_on(Timestamp(operation.at));
            self.take_operation(key, Operation { at: 0, ..operation });
        }
    }

    /// An entity has a new holder: what that one called since it asked for the lock must not wait for those who wait for the
    /// holder, nor come after what it calls now.
    pub(super) fn take_held_of_holder(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key).filter(|instance| !instance.held.is_empty()) else {
            return;
        };
        let Some(entity) = instance.entity.as_deref() else { return };
        let is_own = |held: &Held| match held {
            Held::Message(message, _) => {
                matches!(&message.body, Some(Body::Operation(operation)) if entity.is_of_holder(operation))
            }
            Held::Result(_) => false,
        };
        let (own, others): (VecDeque<_>, _) = instance.held.take_line().into_iter().partition(is_own);
        instance.held.put_back(others);
        for held in own {
            if let Held::Message(message, envelope) = held {
                self.take_message(*message, envelope, Some(key));
            }
        }
    }

    /// Whether a call or a lock request of this link waits for room at an entity that somebody holds.
    pub(super) fn holds_back(&self, key: InstanceKey, waiting: &ParentLink) -> bool {
        let Some(instance) = self.instances.get(&key) else { return false };
        let is_held = instance.entity.as_deref().is_some_and(|entity| entity.is_held());
        is_held && instance.held.line().any(|held| held.asker() == Some(waiting))
    }

    /// Takes calls of these instances from what waits for room; lock requests stay until they are withdrawn. Gives all
    /// that they asked for.
    pub(super) fn take_held_of(&mut self, key: InstanceKey, instances: &[String]) -> Vec<Wanted> {
        let Some(instance) = self.instances.get_mut(&key) else { return Vec::new() };
        let (mut taken, mut kept) = (Vec::new(), VecDeque::new());
        for held in instance.held.take_line() {
            let is_theirs = held.asker().is_some_and(|link| instances.contains(&link.instance));
            match held {
                Held::Message(message, envelope) if is_theirs => match message.body {
                    Some(Body::Operation(operation)) => {
                        taken.push(Wanted::Operation(operation));
                        self.open.consumed.extend(envelope);
                    }
                    Some(Body::Lock(ref request)) => {
                        taken.push(Wanted::Lock(request.clone()));
                        kept.push_back(Held::Message(message, envelope));
                    }
                    _ => kept.push_back(Held::Message(message, envelope)),
                },
                held => kept.push_back(held),
            }
        }
        instance.held.put_back(kept);
        taken
    }

    /// A lock request that waits for room is not wanted any more.
    pub(super) fn drop_held_lock(&mut self, key: InstanceKey, holder: &ParentLink) -> bool {
        let Some(instance) = self.instances.get_mut(&key).filter(|instance| !instance.held.is_empty()) else {
            return false;
        };
        let is_it = |held: &Held| {
            held.asker() == Some(holder)
                && matches!(held, Held::Message(message, _) if matches!(message.body, Some(Body::Lock(_))))
        };
        let (gone, kept): (VecDeque<_>, _) = instance.held.take_line().into_iter().partition(is_it);
        instance.held.put_back(kept);
        let any = !gone.is_empty();
        for held in gone {
            if let Held::Message(_, envelope) = held {
                self.open.consumed.extend(envelope);
            }
        }
        any
    }

    /// Nobody waits any more for what is held; what entities have answered is for a rewind.
    pub(super) fn drop_held(&mut self, key: InstanceKey) {
        let Some(instance) = self.instances.get_mut(&key) else { return };
        for held in instance.held.take() {
            if let Held::Message(message, envelope) = held {
                self.open.consumed.extend(envelope);
                if let Some(Body::OperationEnded(ended)) = &message.body {
                    instance.note_left_call(ended);
                }
            }
        }
    }

    /// Messages of this partition to itself that wait for room are part of what is committed: a crash must not lose them.
    pub(super) fn store_held_messages(&mut self) {
        for key in std::mem::take(&mut self.holding) {
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            let mut held = std::mem::take(&mut instance.held);
            for item in held.iter_mut() {
                if let Held::Message(message, envelope @ None) = item {
                    let id = self.put_in_envelope(self.config.id, message);
                    self.handling.insert(id);
                    *envelope = Some(id);
                }
            }
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.held = held;
            }
        }
    }

    /// An event from another instance finds no room: its sender is told.
    pub(super) fn refuse_raise(&mut self, from: Option<ParentLink>, refusal: &RequestError) {
        if let Some(from) = from {
            let to = InstanceId::recorded(&from.instance);
            let failure = Failure::new(kind::LIMIT, refusal.to_string()).non_retryable();
            self.send(&to, Body::RaiseRefused(RaiseRefused { from: Some(from), failure: Some(failure) }));
        }
    }

    /// An event that this instance sent was refused: its history says so.
    pub(super) fn raise_refused(&mut self, key: InstanceKey, refused: RaiseRefused) {
        let now = self.now;
        let Some(from) = refused.from else { return };
        let Some(instance) = self.instances.get_mut(&key).filter(|instance| instance.is_active()) else {
            return;
        };
        let record = &instance.record;
        if (record.generation, record.branch) == (from.generation, from.branch)
            && record.execution == from.execution
        {
            instance.inbox.push(Event::new(now, EventRefused { id: from.task, failure: refused.failure }));
            self.mark_dirty(key);
            self.enqueue(key);
        }
    }
}

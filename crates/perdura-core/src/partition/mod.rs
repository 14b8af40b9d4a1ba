//! The processor of one partition: a state machine that decides everything and does nothing.
//!
//! A driver owns it, gives it inputs ([`request`](Partition::request), [`task_done`](Partition::task_done),
//! [`tick`](Partition::tick), …), runs the turns that it asks for ([`next_turn`](Partition::next_turn),
//! [`finish_turn`](Partition::finish_turn), or [`turn_away`](Partition::turn_away) and later
//! [`turn_back`](Partition::turn_back)), reads what it needs ([`needs`](Partition::needs)), and writes its batches
//! ([`seal`](Partition::seal), [`committed`](Partition::committed)). Effects come out only when the batch that justifies
//! them is durable. After any other outcome than «committed» the driver drops it and makes a new one from the store.

mod away;
mod batch;
mod bug;
mod children;
mod commit;
mod control;
mod dead_letter;
mod doubt;
mod effect;
mod entities;
mod events;
mod held;
mod instance;
mod keys;
mod left_keys;
mod losses;
mod message;
mod record;
mod request;
mod residency;
mod results;
mod rewind;
mod rewind_family;
mod set_aside;
mod spoilt;
mod start;
mod suspects;
mod tasks;
mod turns;
mod wakes;

pub use batch::{Batch, Envelope, EnvelopeId, HistoryRow, InstanceWrite, Tail};
pub use bug::Bug;
pub use effect::{Effect, Need, TaskRef, TaskStart};
pub use entities::{
    CallRecord, CircleStep, DelayedSignal, EntityRecord, FindCircle, LeftCall, LockGranted, LockRecord,
    LockRequest, Operation, OperationEnded, Queued, SectionRecord, Stamp, TaskName, Unlock, Wanted,
};
pub use message::{
    Awaited, Body, Cancel, ChildEnded, FindCycle, Message, Raise, RaiseRefused, RewindChild, RewindParent,
    StartChild, Terminate,
};
pub use record::{
    AnsweredStart, Block, ChildRecord, FailedTask, InstanceRecord, InstanceRow, KeyLeft, KeyRecord, KeyUse,
    Keys, RunId, TaskRecord, TimerRecord, Traces, Trial,
};
pub use request::{
    Brought, ReplyToken, Request, RequestError, Response, SignalRequest, StartOutcome, StartRequest, Started,
};
pub use residency::HistoryName;

pub(crate) use events::weigh;

use crate::delivery::Delivery;
use crate::entity::EntityId;
use crate::failure::Failure;
use crate::history::Damaged;
use crate::id::{InstanceId, InstanceKey, PartitionId};
use crate::limits::Limits;
use crate::time::Timestamp;
use bytes::Bytes;
use instance::Instance;
use rustc_hash::FxHashMap;
use set_aside::Unwritable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wakes::{Wake, Wakes};

/// What a processor is told when it is made.
#[derive(Clone, Debug)]
pub struct PartitionConfig {
    /// Which partition.
    pub id: PartitionId,
    /// How many the hub has.
    pub partitions: u16,
    /// The number for the next new instance key, from the grant.
    pub next_key: u64,
    /// The number for the next message, from the grant.
    pub next_envelope: u64,
    /// Where its random numbers begin: execution ids and jitter. A driver draws it anew each time.
    pub seed: u128,
    /// Limits.
    pub limits: Limits,
    /// How often activities of a name may run, if neither the call nor its tags say so.
    pub deliveries: Arc<BTreeMap<String, Delivery>>,
    /// A bug to have, for tests of the tests.
    pub bug: Option<Bug>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Partition {
    config: PartitionConfig,
    random: u128,
    now: Timestamp,
    instances: FxHashMap<InstanceKey, Box<Instance>>,
    ids: BTreeMap<InstanceId, InstanceKey>,
    /// The order in which instances are looked at when some must leave memory.
    hand: VecDeque<InstanceKey>,
    wakes: Wakes,
    /// Instances that left memory while nobody knew what became of their activities: a late result may settle that.
    left_in_doubt: BTreeSet<InstanceKey>,
    queue: VecDeque<InstanceKey>,
    next_turn_number: u64,
    trials: dead_letter::Trials,
    suspects: suspects::Suspects,
    /// Instances that need their history as soon as everything of it is committed.
    history_wanted: Vec<InstanceKey>,
    /// What waits for a row, by id and by key.
    id_lookups: BTreeMap<InstanceId, Lookup<Parked>>,
    key_lookups: BTreeMap<InstanceKey, Lookup<ByKey>>,
    needs: Vec<Need>,
    /// Messages between instances of this partition, not yet looked at.
    local: VecDeque<Message>,
    /// Messages from the store that are being dealt with, until their removal is committed.
    handling: BTreeSet<EnvelopeId>,
    /// Messages that were dealt with since messages were last read: a read that was under way may bring them again.
    handled: BTreeSet<EnvelopeId>,
    /// Rewinds that wait for a history, in the order in which they came.
    rewinds: BTreeMap<InstanceKey, VecDeque<rewind::Awaited>>,
    /// What was purged by batches that are not committed, and by which one. One id may be purged several times.
    purged_keys: BTreeMap<InstanceKey, u64>,
    purged_ids: BTreeMap<InstanceId, u64>,
    /// Rows that cannot be read, by id.
    damaged: BTreeMap<InstanceId, DamagedRow>,
    /// Damage that was found and not told yet.
    damage_found: Vec<(InstanceKey, InstanceId, String)>,
    /// Instances that the store refuses to write, by id.
    unwritable: BTreeMap<InstanceId, Unwritable>,
    /// Results that were brought from earlier lives and wait until the history says what follows.
    brought: Vec<(TaskRef, ReplyToken)>,
    /// Instances for which messages wait until their inbox has room.
    holding: BTreeSet<InstanceKey>,
    /// Messages of the life before have not been delivered: until then nothing runs that could send more, which would
    /// overtake them.
    awaits_messages: bool,
    /// Entities that may have operations to hand out.
    operable: Vec<InstanceKey>,
    /// Entities of which nothing is left, until that is durable.
    vanishing: Vec<InstanceKey>,
    suspect_entities: entities::Suspects,
    runs_no_operations: bool,
    /// Messages in the store for instances that cannot be read.
    kept: BTreeMap<InstanceId, Vec<EnvelopeId>>,
    /// Executions that the runner may drop.
    forgotten: Vec<InstanceKey>,
    open: commit::Open,
    in_flight: Option<commit::InFlight>,
    batches_sealed: u64,
    batches_committed: u64,
    /// Attempts that could begin at once, and who would run them.
    room: usize,
    worker: Arc<str>,
}

/// A row that is being read.
#[derive(Debug)]
struct Lookup<T> {
    waiting: Vec<T>,
    /// The instance came into memory or left it meanwhile: what is being read may be older than what was committed.
    overtaken: bool,
}

impl<T> Default for Lookup<T> {
    fn default() -> Self {
        Lookup { waiting: Vec::new(), overtaken: false }
    }
}

/// Something that waits for the row of an instance.
#[derive(Debug)]
enum Parked {
    Request(ReplyToken, Request),
    /// With its envelope, if the message is in the store.
    Message(Message, Option<EnvelopeId>),
}

/// Something that waits for the row of an instance of which only the key is known.
#[derive(Debug)]
enum ByKey {
    Wake(Wake),
    /// Of an attempt in doubt.
    Result(TaskRef, Result<Option<Bytes>, Failure>),
}

/// A row that cannot be read.
#[derive(Clone, Debug)]
struct DamagedRow {
    key: InstanceKey,
    what: String,
}

/// How an id stands.
enum Presence {
    Resident(InstanceKey),
    Absent,
    Damaged(DamagedRow),
    /// The store must be asked; what waits has to be parked.
    Unknown,
}

impl Partition {
    /// A processor that knows nothing yet: [`recover`](Self::recover) comes first.
    #[must_use]
    pub fn new(config: PartitionConfig) -> Partition {
        Partition {
            random: config.seed,
            config,
            now: Timestamp(0),
            instances: FxHashMap::default(),
            ids: BTreeMap::new(),
            hand: VecDeque::new(),
            wakes: Wakes::default(),
            left_in_doubt: BTreeSet::new(),
            queue: VecDeque::new(),
            next_turn_number: 1,
            trials: dead_letter::Trials::default(),
            suspects: suspects::Suspects::default(),
            history_wanted: Vec::new(),
            id_lookups: BTreeMap::new(),
            key_lookups: BTreeMap::new(),
            needs: Vec::new(),
            local: VecDeque::new(),
            handling: BTreeSet::new(),
            handled: BTreeSet::new(),
            rewinds: BTreeMap::new(),
            purged_keys: BTreeMap::new(),
            purged_ids: BTreeMap::new(),
            damaged: BTreeMap::new(),
            damage_found: Vec::new(),
            unwritable: BTreeMap::new(),
            brought: Vec::new(),
            holding: BTreeSet::new(),
            awaits_messages: false,
            operable: Vec::new(),
            vanishing: Vec::new(),
            suspect_entities: entities::Suspects::default(),
            runs_no_operations: false,
            kept: BTreeMap::new(),
            forgotten: Vec::new(),
            open: commit::Open::default(),
            in_flight: None,
            batches_sealed: 0,
            batches_committed: 0,
            room: 0,
            worker: "".into(),
        }
    }

    /// Takes a client's request. The answer comes as an [`Effect::Reply`].
    pub fn request(&mut self, token: ReplyToken, request: Request, now: Timestamp) {
        self.advance(now);
        if let Err(refusal) = self.check_request(&request) {
            return self.reply(token, Err(refusal));
        }
        let fresh = matches!(&request, Request::Start(start) if start.fresh);
        match self.presence(request.id(), fresh) {
            Presence::Resident(key) => self.apply_request(token, request, Some(key)),
            Presence::Absent => self.apply_request(token, request, None),
            Presence::Damaged(row) => self.request_of_damaged(token, &request, row),
            Presence::Unknown => self.park(request.id().clone(), Parked::Request(token, request)),
        }
        self.settle();
    }

    /// Takes messages that the store holds for this partition. Some may come more than once; but a driver reads messages
    /// only when it has delivered those that it read before, so that nothing comes back long after it was dealt with.
    /// After a recovery nothing runs before the first delivery, be it empty. Gives those that cannot be read: they stay in the
    /// store, and hold up no others.
    #[must_use]
    pub fn deliver(&mut self, envelopes: Vec<Envelope>, now: Timestamp) -> Vec<(EnvelopeId, Damaged)> {
        self.advance(now);
        let mut damaged = Vec::new();
        for envelope in envelopes {
            let id = EnvelopeId { from: envelope.from, number: envelope.number };
            if !self.handled.contains(&id) && self.handling.insert(id) {
                match envelope.open() {
                    Ok(message) => self.message(message, Some(id)),
                    Err(damage) => damaged.push((id, damage)),
                }
            }
        }
        self.handled.clear();
        self.awaits_messages = false;
        self.settle();
        damaged
    }

    /// Lets time pass: fires what is due.
    pub fn tick(&mut self, now: Timestamp) {
        self.advance(now);
        let early = if self.planted(Bug::TimerEarly) { 500 } else { 0 };
        while let Some((at, key, wake)) = self.wakes.pop_due(Timestamp(self.now.0.saturating_add(early))) {
            if early > 0 {
                self.now = self.now.max(at);
            }
            if self.instances.contains_key(&key) {
                self.wake(key, wake);
            } else {
                self.look_up(key, ByKey::Wake(wake));
            }
        }
        self.settle();
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.wakes.next()
    }

    /// What must be read before some instances can go on. Each need is told once.
    pub fn needs(&mut self) -> Vec<Need> {
        std::mem::take(&mut self.needs)
    }

    /// Executions of which the runner may drop what it keeps.
    pub fn forgotten(&mut self) -> Vec<InstanceKey> {
        std::mem::take(&mut self.forgotten)
    }

    /// Damaged instances that were met since the last call, with what is wrong: they are left alone, and somebody should
    /// hear of it.
    pub fn damage_found(&mut self) -> Vec<(InstanceKey, InstanceId, String)> {
        std::mem::take(&mut self.damage_found)
    }

    /// What it is held to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Instances in memory.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.instances.len()
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Deals with messages between instances of this partition until none is left.
    fn settle(&mut self) {
        while let Some(message) = self.local.pop_front() {
            self.message(message, None);
        }
    }

    fn message(&mut self, message: Message, envelope: Option<EnvelopeId>) {
        let id = message.receiver();
        match self.presence(&id, false) {
            Presence::Resident(key) => self.apply_message(message, envelope, Some(key)),
            Presence::Absent => self.apply_message(message, envelope, None),
            Presence::Damaged(_) => self.keep_for_damaged(message, envelope),
            Presence::Unknown => self.park(id, Parked::Message(message, envelope)),
        }
    }

    fn apply_message(
        &mut self,
        message: Message,
        envelope: Option<EnvelopeId>,
        receiver: Option<InstanceKey>,
    ) {
        let is_done = match &message.body {
            Some(Body::RewindChild(_)) => self.rewind_child(&message, envelope, receiver),
            Some(Body::RewindParent(_)) => self.rewind_parent(&message, envelope, receiver),
            Some(Body::StartChild(_)) => self.start_again(&message, envelope, receiver),
            _ => true,
        };
        if !is_done {
            return;
        }
        if let Some(key) = receiver.filter(|_| message.is_for_the_queue()) {
            self.take_due_signals(key);
        }
        if let Some(key) = receiver.filter(|key| self.must_wait_for_room(*key, &message)) {
            return self.hold_message(key, message, envelope);
        }
        self.take_message(message, envelope, receiver);
    }

    fn take_message(
        &mut self,
        message: Message,
        envelope: Option<EnvelopeId>,
        receiver: Option<InstanceKey>,
    ) {
        if let Some(envelope) = envelope.filter(|_| !self.planted(Bug::MessageNotConsumed)) {
            self.open.consumed.push(envelope);
        }
        let id = message.receiver();
        match (message.body, receiver) {
            (Some(Body::Operation(operation)), existing) => self.operation_message(&id, operation, existing),
            (Some(Body::Lock(request)), existing) => self.lock_message(&id, request, existing),
            (Some(Body::Unlock(unlock)), existing) => self.unlock_message(existing, unlock),
            (Some(Body::FindCircle(find)), existing) => self.find_circle(existing, *find),
            (Some(Body::StartChild(start)), _) if EntityId::of_instance(&id).is_some() => {
                self.refuse_child(start)
            }
            (Some(_), _) if EntityId::of_instance(&id).is_some() => {}
            (Some(Body::OperationEnded(ended)), Some(key)) => self.operation_ended(key, ended),
            (Some(Body::LockGranted(granted)), Some(key)) => self.lock_granted(key, granted),
            (Some(Body::StartChild(start)), existing) => self.start_child(&id, start, existing),
            (Some(Body::ChildEnded(ended)), Some(key)) => self.child_ended(key, ended),
            (Some(Body::Raise(raise)), Some(key)) => self.raised_by_instance(key, raise),
            (Some(Body::RaiseRefused(refused)), Some(key)) => self.raise_refused(key, refused),
            (Some(Body::Terminate(terminate)), Some(key)) => self.terminate_child(key, terminate),
            (Some(Body::Cancel(cancel)), Some(key)) => self.cancel_child(key, cancel),
            (Some(Body::RewindChild(_) | Body::RewindParent(_)), Some(_)) => {}
            (Some(Body::FindCycle(find)), receiver) => self.find_cycle(receiver, *find),
            // The receiver is gone: nobody is left to be told.
            (_, None) | (None, _) => {}
        }
    }

    fn wake(&mut self, key: InstanceKey, wake: Wake) {
        if self.is_set_aside(key) {
            return;
        }
        match wake {
            Wake::Start => self.enqueue(key),
            Wake::Timer(id) => self.timer_due(key, id),
            Wake::Retry(task) => self.retry_due(key, task),
            Wake::TaskLimit(task) | Wake::AttemptLimit(task) => self.task_limit_due(key, task),
            Wake::ChildRetry(task) => self.child_retry_due(key, task),
            Wake::Signal(_) | Wake::Operations => self.go_on(key),
            Wake::Circle => self.look_for_circle(key),
        }
    }

    /// The next number of this processor's random stream (SplitMix64 on each half).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mut z = (self.random >> 64) as u64 ^ self.random as u64;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random number from 0 to 1.
    fn dice(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn planted(&self, bug: Bug) -> bool {
        cfg!(feature = "planted-bugs") && self.config.bug == Some(bug)
    }
}

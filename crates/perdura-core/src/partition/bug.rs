//! Bugs planted on purpose. The simulation must find each of them, or it is not worth its time.

/// A planted bug. Without the feature `planted-bugs` none is ever active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Effects leave before the commit.
    EffectsBeforeCommit,
    /// Continue-as-new drops external events that nobody took.
    ContinueAsNewDropsEvents,
    /// A result for an earlier generation is accepted.
    OldGenerationAccepted,
    /// A result of an earlier delivery is accepted, and so is a second one.
    LateResultAccepted,
    /// Timers fire half a second early.
    TimerEarly,
    /// One timer in sixteen is forgotten.
    TimerLost,
    /// Request ids of starts are not remembered.
    RequestIdForgotten,
    /// A task is handed out again after a crash with the same delivery count.
    DeliveryCountReused,
    /// A suspended instance runs turns.
    SuspendedRuns,
    /// Events that arrive while an instance is suspended are dropped.
    SuspendedDropsEvents,
    /// A start does not look whether the instance exists when it is not in memory.
    StartWithoutLook,
    /// A retry does not wait.
    RetryAtOnce,
    /// A message is applied but not consumed.
    MessageNotConsumed,
    /// A parent is not told of a child that was terminated.
    ParentNotTold,
    /// Termination does not reach the children.
    TerminateNotRecursive,
    /// A rewind does not deliver the external events again that came after the cut.
    RewindForgetsEvents,
    /// A rewind uses no recorded result again.
    RewindRunsSuccesses,
    /// A rewind leaves failed children as they are.
    RewindLeavesChildren,
    /// A rewind does not deliver results again that came after the cut for work from before it.
    RewindLosesResults,
    /// Events that were sent are sent again after a rewind.
    RewindSendsTwice,
    /// A rewind forgets timers that were pending at the cut.
    RewindForgetsTimers,
    /// A rewound instance keeps its output and its failure.
    RewindKeepsTheEnd,
    /// A rewind counts deliveries of what runs again from the beginning.
    RewindForgetsDeliveries,
    /// A rewind leaves the instance the input that it had.
    RewindKeepsInput,
    /// A rewind delivers external events again that were to be dropped.
    RewindKeepsEvents,
    /// An instance that has not ended is rewound without force.
    RewindWithoutForce,
    /// A rewind does not look whether the history has moved since its plan.
    RewindIgnoresHead,
    /// A rewind that is asked again is done again.
    RewindTwice,
    /// A rewind uses results again that were to be made anew.
    RewindReusesAll,
    /// A rewind ignores the inputs and results that the operator gave.
    RewindIgnoresGiven,
    /// Timers that were pending at the cut of a rewind are due at once.
    RewindFiresTimers,
    /// What runs again after a rewind has used up attempts of its retry policy.
    RewindKeepsAttempts,
    /// An instance stays suspended when it is rewound.
    RewindStaysSuspended,
    /// A rewind leaves parents behind that it was to take along.
    RewindLeavesParents,
    /// Memory is kept after a commit of unknown outcome.
    UnknownTakenAsFailure,
    /// A release now and then does not reach an entity.
    LockLeaks,
    /// A rewind does not release the critical section that its instance holds.
    RewindLeaksLock,
    /// The last two operations in the queue of an entity change places.
    SignalsReordered,
    /// A signal that is asked again after a doubtful commit is taken again.
    SignalTwice,
    /// What an operation sent leaves although the operation failed.
    FailedOperationSends,
    /// An attempt begins before the hand-over to its worker is durable.
    BarrierLeavesEarly,
    /// An activity that runs at most once runs again although nobody knows how an attempt ended.
    UnknownRunsAgain,
    /// A call under an idempotency key runs although another has.
    KeyRunsAgain,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 43] = [
        Bug::EffectsBeforeCommit,
        Bug::ContinueAsNewDropsEvents,
        Bug::OldGenerationAccepted,
        Bug::LateResultAccepted,
        Bug::TimerEarly,
        Bug::TimerLost,
        Bug::RequestIdForgotten,
        Bug::DeliveryCountReused,
        Bug::SuspendedRuns,
        Bug::SuspendedDropsEvents,
        Bug::StartWithoutLook,
        Bug::RetryAtOnce,
        Bug::MessageNotConsumed,
        Bug::ParentNotTold,
        Bug::TerminateNotRecursive,
        Bug::RewindForgetsEvents,
        Bug::RewindRunsSuccesses,
        Bug::RewindLeavesChildren,
        Bug::RewindLosesResults,
        Bug::RewindSendsTwice,
        Bug::RewindForgetsTimers,
        Bug::RewindKeepsTheEnd,
        Bug::RewindForgetsDeliveries,
        Bug::RewindKeepsInput,
        Bug::RewindKeepsEvents,
        Bug::RewindWithoutForce,
        Bug::RewindIgnoresHead,
        Bug::RewindTwice,
        Bug::RewindReusesAll,
        Bug::RewindIgnoresGiven,
        Bug::RewindFiresTimers,
        Bug::RewindKeepsAttempts,
        Bug::RewindStaysSuspended,
        Bug::RewindLeavesParents,
        Bug::UnknownTakenAsFailure,
        Bug::LockLeaks,
        Bug::RewindLeaksLock,
        Bug::SignalsReordered,
        Bug::SignalTwice,
        Bug::FailedOperationSends,
        Bug::BarrierLeavesEarly,
        Bug::UnknownRunsAgain,
        Bug::KeyRunsAgain,
    ];
}

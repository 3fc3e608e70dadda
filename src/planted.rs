//! Planted bugs: deliberate defects that a test build can switch on, one at a time and per thread, to show that each
//! checker catches what it is for. Without the feature `planted-bugs` every question here is answered "no" at compile time.

/// A defect that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An effect that was applied already is applied again.
    SkipDeduplication,
    /// An effect is applied before what its origin had seen.
    IgnoreDependencies,
    /// A removal takes also what its origin had not seen.
    RemoveUnseen,
    /// Concurrent increments: only the one with the higher stamp counts.
    LoseIncrement,
    /// Concurrent SETs: the one that arrives last wins.
    LastArrivalWins,
    /// The operations of an effect on all keys but the first are lost.
    TearEffect,
    /// The hybrid clock ignores the stamps of effects from elsewhere.
    IgnoreRemoteTime,
    /// A gap in a peer's effects is not asked for again.
    SkipRepair,
    /// Effects applied during a snapshot transfer are applied again to parts of it that have them.
    SnapshotAppliesTwice,
    /// A fold drops metadata that is not stable yet.
    FoldTooEarly,
    /// Of concurrent changes of a time to live the shorter one counts.
    ShorterLifeWins,
    /// Of concurrent creates of different types the one with the lower stamp is shown.
    ShowLowerType,
    /// A removal that meets something concurrent removes nothing, also not what it had seen.
    IgnoreConcurrentRemoval,
    /// A ZADD GT or LT that meets something concurrent sets the score whatever it is.
    IgnoreScoreBound,
    /// Concurrent pushes lie in the list in the order of their arrival.
    PushInOrderOfArrival,
    /// Positions in a list count what is here, not what the origin could see.
    PositionsAreIndices,
    /// A field that is merged loses its time to live.
    DropFieldLife,
    /// An entry that arrives behind a group's position is passed over.
    SkipLateEntry,
    /// Ids of stream entries do not tell who made them.
    ReuseStreamIds,
    /// Effects applied during a snapshot transfer are passed over by parts of it that lack them, too.
    SnapshotSkipsEffects,
    /// A snapshot carries values only, and not what is not stable about them.
    SnapshotWithoutMetadata,
    /// Effects do not say what their origin had seen.
    SeeNothing,
    /// The hybrid clock follows the wall clock also when that goes back.
    ClockGoesBack,
    /// What was sent counts as acknowledged.
    AcknowledgeEarly,
    /// A node claims to have applied what its peers have.
    ClaimTooHigh,
    /// What is applied here counts as applied by everybody.
    PresumeKnown,
    /// Nobody removes the entries of dead members.
    KeepDeadMembers,
    /// What is stable is forgotten although DNS names somebody whom nobody has met.
    IgnoreUnmet,
    /// The log of effects has no limit.
    IgnoreLogLimit,
    /// What waits for other effects has no limit.
    IgnoreWaitingLimit,
}

/// Every bug that can be planted, with the name that the command line uses.
pub const ALL: [(&str, Bug); 30] = [
    ("skip-deduplication", Bug::SkipDeduplication),
    ("ignore-dependencies", Bug::IgnoreDependencies),
    ("remove-unseen", Bug::RemoveUnseen),
    ("lose-increment", Bug::LoseIncrement),
    ("last-arrival-wins", Bug::LastArrivalWins),
    ("tear-effect", Bug::TearEffect),
    ("ignore-remote-time", Bug::IgnoreRemoteTime),
    ("skip-repair", Bug::SkipRepair),
    ("snapshot-applies-twice", Bug::SnapshotAppliesTwice),
    ("fold-too-early", Bug::FoldTooEarly),
    ("shorter-life-wins", Bug::ShorterLifeWins),
    ("show-lower-type", Bug::ShowLowerType),
    ("ignore-concurrent-removal", Bug::IgnoreConcurrentRemoval),
    ("ignore-score-bound", Bug::IgnoreScoreBound),
    ("push-in-order-of-arrival", Bug::PushInOrderOfArrival),
    ("positions-are-indices", Bug::PositionsAreIndices),
    ("drop-field-life", Bug::DropFieldLife),
    ("skip-late-entry", Bug::SkipLateEntry),
    ("reuse-stream-ids", Bug::ReuseStreamIds),
    ("snapshot-skips-effects", Bug::SnapshotSkipsEffects),
    ("snapshot-without-metadata", Bug::SnapshotWithoutMetadata),
    ("see-nothing", Bug::SeeNothing),
    ("clock-goes-back", Bug::ClockGoesBack),
    ("acknowledge-early", Bug::AcknowledgeEarly),
    ("claim-too-high", Bug::ClaimTooHigh),
    ("presume-known", Bug::PresumeKnown),
    ("keep-dead-members", Bug::KeepDeadMembers),
    ("ignore-unmet", Bug::IgnoreUnmet),
    ("ignore-log-limit", Bug::IgnoreLogLimit),
    ("ignore-waiting-limit", Bug::IgnoreWaitingLimit),
];

#[cfg(feature = "planted-bugs")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on for this thread, or all off.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    ACTIVE.set(bug);
}

/// Is this bug switched on?
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    ACTIVE.get() == Some(bug)
}

/// Is this bug switched on? Never, in a build without the feature.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted(_bug: Bug) -> bool {
    false
}

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
}

/// Every bug that can be planted, with the name that the command line uses.
pub const ALL: [(&str, Bug); 10] = [
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

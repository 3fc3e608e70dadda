//! Which rare paths a run took, and how often.
//!
//! What nodes count for their operators is taken from their reports; the rest the world notes as it happens. No run depends on
//! any of it. A path that no seed takes is a gap in the simulation: nothing is known of what lies behind it.

use std::fmt::Write;

use swytch::replication::ClusterReport;

macro_rules! paths {
    ($($(#[doc = $about:literal])* $path:ident $name:literal,)*) => {
        /// Something that happens now and then.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Path {
            $($(#[doc = $about])* $path,)*
        }

        /// Every path, and how the table calls it.
        pub const PATHS: &[(Path, &str)] = &[$((Path::$path, $name),)*];
    };
}

paths! {
    /// An effect arrived that was applied or waiting already.
    Duplicate "duplicate dropped",
    /// An effect was applied whose origin was not connected: it came through others.
    Relay "effect relayed",
    /// Effects waited for what their origin had seen.
    Waiting "effect waited for others",
    /// What waited was over its budget, or nobody had what it waited for.
    WaitingDropped "waiting effect dropped",
    /// A range was asked for that did not come by itself.
    Repair "gap repaired",
    /// An effect could not be applied any more, as what it had not seen was folded.
    Blocked "effect refused for good",
    /// A peer was disconnected because of what it said.
    RefusedPeer "peer refused",
    /// Clients wrote while several effects were applied in a row.
    Interrupted "write between two applied effects",
    /// A connection ended because nothing was heard.
    IdleTimeout "connection timed out",
    /// Two nodes had connected to each other at the same time.
    CrossedDials "crossed connections",
    /// What was sent met a cut and arrived when that ended.
    Held "frame held by a cut",
    /// A node stood still and found what had happened meanwhile.
    Resumed "node went on after a pause",
    /// A node lost power while a snapshot was coming in.
    CrashInTransfer "crash during a snapshot transfer",
    /// A node lost power that had given up its identity and not made its effects again yet.
    CrashBeforeRemake "crash before effects were remade",
    /// A snapshot was asked for.
    SnapshotSent "snapshot sent",
    /// A snapshot came in.
    SnapshotTaken "snapshot taken in",
    /// A node that served took over a peer's state, and went on as what it was.
    Reconciled "state taken over",
    /// It turned out that a peer's state could not be taken over.
    ReconciledInVain "state not taken over after all",
    /// A node that served was handed over all that it lacked of a peer, and applied it at once.
    HandedOver "handed over at once",
    /// A peer did not have any more what it was asked to hand over.
    HandoverRefused "handover refused",
    /// What was kept for nodes that are away was over its budget.
    ArchiveLost "archive dropped: over its budget",
    /// A snapshot was asked for that was not the first.
    SnapshotRestarted "snapshot restarted",
    /// A snapshot did not come to its end.
    SnapshotLost "snapshot cut short",
    /// One came in that was written to while it was sent.
    TailApplied "tail of a snapshot applied",
    /// The log of its sender did not have the effects any more that came after its beginning.
    TailForgotten "tail of a snapshot forgotten",
    /// What was imported counted for nothing.
    StaleDropped "stale import dropped",
    /// The log of a node was full, and somebody was not waited for any more.
    ForcedOut "forced out: log over its budget",
    /// The metadata kept for the return of a node was over its budget.
    Forsaken "forsaken: metadata over its budget",
    /// The log of a node that knew nobody was full.
    UnmetGivenUp "unmet address given up: log full",
    /// An identity was given up.
    Rebase "rebase",
    /// One that had not served yet was given up.
    RebaseAgain "rebase before the last one was over",
    Stayed "identity kept when about to be given up",
    /// Effects of a former identity were made again.
    Remade "effects remade",
    /// A former identity left effects, and all of them had come to others.
    RemadeNone "nothing to remake",
    /// An effect was collected after its identity was given up.
    LateOwn "own effect kept for the next identity",
    /// Own effects were neither in the log any more nor with the peer that was given way to.
    LostEffects "own effects lost in a rebase",
    /// Clients waited for what they may have seen under a former identity.
    OpenedLate "clients waited for their session",
    /// They waited in vain.
    OpenedWithout "session incomplete after a rebase",
    /// A node was admitted.
    Admitted "newcomer admitted",
    /// The entry of a dead member was removed.
    MemberRemoved "dead member removed",
    /// The entry of a node that lived was removed.
    MemberRemovedAlive "live member removed in error",
    /// A lookup failed.
    DnsFailed "lookup failed",
    /// A node found nobody and began alone.
    BeganAlone "found nobody",
    /// A node that had peers looked for others in DNS.
    Rediscovered "asked DNS again",
    /// An address that DNS names was dialed as nobody was met there.
    UnmetDialed "unmet address dialed",
    /// A key or a field was removed as its time was over.
    Expired "expired key removed",
    /// Such a removal met a write that it had not seen.
    ExpiryRace "expiry raced a write",
    /// Concurrent writes met at a string.
    ConflictString "concurrent: string",
    /// At a hash.
    ConflictHash "concurrent: hash",
    /// At a set.
    ConflictSet "concurrent: set",
    /// At a sorted set.
    ConflictSortedSet "concurrent: sorted set",
    /// At a list.
    ConflictList "concurrent: list",
    /// At a stream.
    ConflictStream "concurrent: stream",
    /// At a key that shows no value.
    ConflictAbsent "concurrent: removed key",
    /// A flush was applied that another node had made.
    RemoteFlush "flush applied",
    /// An entry arrived behind the position of a group, and was delivered.
    LateEntry "late stream entry delivered",
    /// A wall clock was set back.
    ClockBack "wall clock set back",
    /// Some nodes were healed, and others not.
    CoreHealed "only a core healed",
    /// Outside that core nodes ran that were not healed.
    OutsidersRun "outsiders ran on unhealed",
}

/// How often each path was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    times: [u64; PATHS.len()],
    /// Of how many runs this is the sum.
    runs: u64,
    /// In how many of them each path was taken.
    taken_in: [u64; PATHS.len()],
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage { times: [0; PATHS.len()], runs: 0, taken_in: [0; PATHS.len()] }
    }
}

impl Coverage {
    /// A path was taken.
    pub fn note(&mut self, path: Path) {
        self.count(path, 1);
    }

    /// A path was taken so many times.
    pub fn count(&mut self, path: Path, times: u64) {
        self.times[path as usize] += times;
    }

    /// A core comes to its end: what it counted.
    pub fn take(&mut self, report: &ClusterReport) {
        for (path, times) in [
            (Path::Duplicate, report.duplicates),
            (Path::WaitingDropped, report.dropped_effects),
            (Path::Repair, report.repairs),
            (Path::Blocked, report.refused_effects),
            (Path::RefusedPeer, report.refused_peers),
            (Path::SnapshotSent, report.snapshots_sent),
            (Path::SnapshotTaken, report.snapshots_received),
            (Path::Reconciled, report.reconciliations),
            (Path::HandedOver, report.handovers_received),
            (Path::ArchiveLost, report.archives_lost),
            (Path::ForcedOut, report.forced_out),
            (Path::Forsaken, report.forsaken),
            (Path::LostEffects, report.lost_effects),
        ] {
            self.count(path, times);
        }
    }

    /// How often a path was taken.
    pub fn times(&self, path: Path) -> u64 {
        self.times[path as usize]
    }

    /// Adds one run.
    pub fn add(&mut self, run: &Coverage) {
        self.runs += 1;
        for (at, times) in run.times.iter().enumerate() {
            self.times[at] += times;
            self.taken_in[at] += u64::from(*times > 0);
        }
    }

    /// The paths that no run took.
    pub fn gaps(&self) -> Vec<&'static str> {
        PATHS.iter().filter(|(path, _)| self.times(*path) == 0).map(|(_, name)| *name).collect()
    }

    /// For people: what was taken, the rarest first, and what was not.
    pub fn table(&self) -> String {
        let mut rows: Vec<(u64, u64, &str)> = PATHS
            .iter()
            .map(|(path, name)| (self.taken_in[*path as usize], self.times(*path), *name))
            .filter(|(_, times, _)| *times > 0)
            .collect();
        rows.sort_unstable();
        let mut table = format!("{:<40}{:>8}{:>12}\n", format!("path, of {} runs", self.runs), "runs", "times");
        for (runs, times, name) in rows {
            // Writing to a string does not fail.
            let _ = writeln!(table, "{name:<40}{runs:>8}{times:>12}");
        }
        match self.gaps().as_slice() {
            [] => table.push_str("every path was taken\n"),
            gaps => table.push_str(&format!("never taken: {}\n", gaps.join("; "))),
        }
        table
    }
}

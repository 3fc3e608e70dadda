//! What makes a script alone: a lock that costs next to nothing to those who share, and a little to the one who excludes them.
//!
//! Whoever works on the data stands *inside*: it raises one of a few counters, each on a cache line of its own, and lowers it
//! when it leaves. A thread passes once for many transactions: what it does while it is inside passes for nothing
//! ([`Gates::enter`] is re-entrant). A script ([`Gates::exclude`]) closes the gates, waits until all are out, and has the
//! data for itself: every lock of a shard is free, so it may take them in any order, as keys turn up.
//!
//! Nobody waits in a circle: who waits outside holds no lock of the keyspace, and who is inside waits for none but those locks.
//!
//! A thread that has been alone, and stands inside, leaves the gates closed until it goes, or has been alone [`MOST_IN_A_ROW`] times
//! ([`ENOUGH_IN_A_ROW`] if others want to get in): the scripts of a pipeline follow each other without a word to other threads. A thread that says when
//! it has nothing to do ([`Gates::linger_until_idle`], [`Gates::go_idle`]) does so for one pass after the other, as long as there are scripts in each:
//! those of many clients follow each other likewise.
//!
//! Those who wait are let in before the next script begins, so scripts in a row keep nobody out for longer than one of
//! them takes. When one takes too long (*overdue*), clients are turned away instead of waiting ([`Gates::enter_unless_overdue`]).
//!
//! Must not know scripts, or what lies behind the gates. It reads a monotonic clock only to measure how long somebody was kept out.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Counters of those inside. Threads share one only when there are more of them.
const COUNTERS: usize = 32;
/// How often a look is repeated before a thread goes to sleep: most scripts take microseconds.
const LOOKS: usize = 200;
/// A thread is alone at most so many times before others may be.
const MOST_IN_A_ROW: u32 = 64;
/// And so many times while others wait to get in.
const ENOUGH_IN_A_ROW: u32 = 16;
/// Who waits for those inside looks again after this long at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Each counter on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicUsize);

/// See the module's text.
pub struct Gates {
    /// Names these gates in what threads remember.
    id: u64,
    counters: [Counter; COUNTERS],
    /// Somebody is alone, or waits for being it.
    closed: AtomicBool,
    /// It takes too long.
    overdue: AtomicBool,
    /// So many wait outside for the gates to open.
    waiting: AtomicUsize,
    /// A thread has the gates: it excludes others, or is about to.
    owned: AtomicBool,
    /// So many wait for having them.
    contenders: AtomicUsize,
    /// Tells who waits of every change.
    changes: Mutex<()>,
    changed: Condvar,
}

/// Where a thread stands with some gates.
#[derive(Clone, Copy)]
struct Standing {
    gates: u64,
    /// How many passes of it are open.
    depth: usize,
    /// It is among those that are counted as inside. Not so after a wish to be alone that was turned away.
    counted: bool,
    /// It is alone.
    alone: bool,
    /// It has the gates closed behind it, and may be alone so many times more before it opens them.
    lingers: u32,
    /// It has been alone since its outermost pass began.
    was_alone: bool,
}

thread_local! {
    /// Nearly always none or one: simulations have several nodes on one thread.
    static STANDINGS: RefCell<Vec<Standing>> = const { RefCell::new(Vec::new()) };
    static COUNTER: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The thread says when it has nothing to do.
    static TELLS_IDLE: Cell<bool> = const { Cell::new(false) };
}

/// The counter of this thread.
fn counter() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    COUNTER.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, SeqCst) % COUNTERS);
        }
        mine.get()
    })
}

/// The gates are closed, and have been for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue;

/// A thread stands inside as long as it has this.
pub struct Inside<'g> {
    gates: &'g Gates,
    alone: bool,
    /// Belongs to the thread.
    of_thread: PhantomData<*const ()>,
}

impl Inside<'_> {
    /// Was the thread alone when it passed?
    pub fn is_alone(&self) -> bool {
        self.alone
    }
}

/// A thread is alone as long as it has this.
pub struct Alone<'g> {
    gates: &'g Gates,
    of_thread: PhantomData<*const ()>,
}

/// Where a thread stood with some gates, until this is dropped: on the same thread, when nothing else on it is inside.
pub struct LaidAside(Option<Standing>);

impl Drop for LaidAside {
    fn drop(&mut self) {
        let Some(standing) = self.0.take() else { return };
        STANDINGS.with_borrow_mut(|all| {
            debug_assert!(all.iter().all(|other| other.gates != standing.gates), "somebody else is inside");
            all.push(standing);
        });
    }
}

impl Default for Gates {
    fn default() -> Gates {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Gates {
            id: NEXT.fetch_add(1, SeqCst),
            counters: Default::default(),
            closed: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            owned: AtomicBool::new(false),
            contenders: AtomicUsize::new(0),
            changes: Mutex::new(()),
            changed: Condvar::new(),
        }
    }
}

impl Gates {
    fn standing<T>(&self, with: impl FnOnce(&mut Standing) -> T) -> T {
        STANDINGS.with_borrow_mut(|all| {
            let at = all.iter().position(|standing| standing.gates == self.id);
            let at = at.unwrap_or_else(|| {
                all.push(Standing {
                    gates: self.id,
                    depth: 0,
                    counted: false,
                    alone: false,
                    lingers: 0,
                    was_alone: false,
                });
                all.len() - 1
            });
            let outcome = with(&mut all[at]);
            if all[at].depth == 0 && !all[at].alone && all[at].lingers == 0 {
                all.swap_remove(at);
            }
            outcome
        })
    }

    /// Adds a pass to a thread that is inside (`Some(false)`) or alone (`Some(true)`).
    fn enter_again(&self) -> Option<bool> {
        self.standing(|standing| {
            let is_inside = standing.counted || standing.alone || standing.lingers > 0;
            standing.depth += usize::from(is_inside);
            is_inside.then_some(standing.alone)
        })
    }

    fn try_enter(&self) -> bool {
        let mine = &self.counters[counter()].0;
        // Both sides write first and look then, in one order for all: at least one of them sees the other.
        mine.fetch_add(1, SeqCst);
        if !self.closed.load(SeqCst) {
            self.standing(|standing| (standing.depth, standing.counted) = (standing.depth + 1, true));
            return true;
        }
        self.step_out(mine);
        false
    }

    fn step_out(&self, mine: &AtomicUsize) {
        mine.fetch_sub(1, SeqCst);
        if self.closed.load(SeqCst) {
            self.tell();
        }
    }

    fn tell(&self) {
        drop(self.changes.lock());
        self.changed.notify_all();
    }

    fn pass(&self, otherwise: impl FnOnce() -> bool) -> Option<Inside<'_>> {
        let alone = match self.enter_again() {
            Some(alone) => alone,
            None if self.try_enter() || otherwise() => false,
            None => return None,
        };
        Some(Inside { gates: self, alone, of_thread: PhantomData })
    }

    /// Passes, and waits for it as long as it takes.
    pub fn enter(&self) -> Inside<'_> {
        self.pass(|| self.wait(None, false)).expect("who is not turned away waits")
    }

    /// Passes, unless whoever is alone takes too long.
    pub fn enter_unless_overdue(&self) -> Result<Inside<'_>, Overdue> {
        self.pass(|| self.wait(None, true)).ok_or(Overdue)
    }

    /// Passes, if it takes no longer than that.
    pub fn enter_within(&self, limit: Duration) -> Option<Inside<'_>> {
        self.pass(|| self.wait(Some(limit), true))
    }

    /// Waits until it is inside. False: it has taken too long.
    fn wait(&self, limit: Option<Duration>, turns_away: bool) -> bool {
        self.waiting.fetch_add(1, SeqCst);
        let entered = self.wait_counted(limit, turns_away);
        self.waiting.fetch_sub(1, SeqCst);
        self.tell();
        entered
    }

    fn wait_counted(&self, limit: Option<Duration>, turns_away: bool) -> bool {
        let begun = Instant::now();
        for _ in 0..LOOKS {
            if !self.closed.load(SeqCst) && self.try_enter() {
                return true;
            }
            std::hint::spin_loop();
        }
        loop {
            if turns_away && self.overdue.load(SeqCst) || limit.is_some_and(|limit| begun.elapsed() >= limit) {
                return false;
            }
            {
                let mut changes = self.changes.lock();
                if self.closed.load(SeqCst) {
                    let rest = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
                    match rest {
                        Some(rest) => drop(self.changed.wait_for(&mut changes, rest)),
                        None => self.changed.wait(&mut changes),
                    }
                }
            }
            if !self.closed.load(SeqCst) && self.try_enter() {
                return true;
            }
        }
    }

    /// What this thread does is laid aside, while it is alone: until the guard is dropped, whatever else the thread does stands outside.
    /// That is for who takes too long: it should not wait to get in, as nobody would let it.
    pub fn lay_aside(&self) -> LaidAside {
        LaidAside(STANDINGS.with_borrow_mut(|all| {
            let at = all.iter().position(|standing| standing.gates == self.id)?;
            Some(all.swap_remove(at))
        }))
    }

    /// Does whoever is alone take too long?
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(SeqCst)
    }

    /// Whoever is alone takes too long: those who wait, and would rather not, are turned away.
    pub fn note_overdue(&self) {
        self.overdue.store(true, SeqCst);
        self.tell();
    }

    /// Excludes everybody else, once all are out. The thread itself may be inside, but holds no lock of the keyspace.
    ///
    /// # Errors
    /// Somebody else is alone, and takes too long. The thread is not inside any more, whatever passes it has.
    pub fn exclude(&self) -> Result<Alone<'_>, Overdue> {
        let (was_counted, lingers) = self.standing(|standing| {
            assert!(!standing.alone, "who is alone is so once");
            standing.alone = standing.lingers > 0;
            standing.was_alone = true;
            (std::mem::take(&mut standing.counted), standing.lingers > 0)
        });
        if lingers {
            return Ok(Alone { gates: self, of_thread: PhantomData });
        }
        if was_counted {
            self.step_out(&self.counters[counter()].0);
        }
        if !self.try_own() {
            self.contenders.fetch_add(1, SeqCst);
            let owns = self.wait_to_own();
            self.contenders.fetch_sub(1, SeqCst);
            if !owns {
                return Err(Overdue);
            }
        }
        // Those who were kept out by the one before come first.
        self.wait_until(|| self.waiting.load(SeqCst) == 0);
        self.closed.store(true, SeqCst);
        self.wait_until(|| self.counters.iter().all(|counter| counter.0.load(SeqCst) == 0));
        self.standing(|standing| {
            // Only who was inside, and leaves some time, may leave the gates closed.
            (standing.alone, standing.lingers) = (true, if was_counted { MOST_IN_A_ROW } else { 0 });
        });
        Ok(Alone { gates: self, of_thread: PhantomData })
    }

    /// This thread calls [`Gates::go_idle`] whenever it has nothing to do.
    pub fn linger_until_idle() {
        TELLS_IDLE.set(true);
    }

    /// This thread has nothing to do: it opens the gates, if it has left them closed.
    pub fn go_idle(&self) {
        let lingered = self.standing(|standing| standing.depth == 0 && std::mem::take(&mut standing.lingers) > 0);
        if lingered {
            self.open();
        }
    }

    fn try_own(&self) -> bool {
        !self.owned.swap(true, SeqCst)
    }

    /// False: the owner takes too long.
    fn wait_to_own(&self) -> bool {
        for _ in 0..LOOKS {
            if !self.owned.load(SeqCst) && self.try_own() {
                return true;
            }
            std::hint::spin_loop();
        }
        loop {
            {
                let mut changes = self.changes.lock();
                if self.owned.load(SeqCst) && !self.is_overdue() {
                    self.changed.wait_for(&mut changes, LOOK_AGAIN);
                }
            }
            if self.try_own() {
                return true;
            }
            if self.is_overdue() {
                return false;
            }
        }
    }

    /// Opens the gates, for who has them.
    fn open(&self) {
        self.overdue.store(false, SeqCst);
        self.closed.store(false, SeqCst);
        self.owned.store(false, SeqCst);
        if self.waiting.load(SeqCst) > 0 || self.contenders.load(SeqCst) > 0 {
            self.tell();
        }
    }

    fn wait_until(&self, holds: impl Fn() -> bool) {
        for _ in 0..LOOKS {
            if holds() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut changes = self.changes.lock();
        while !holds() {
            self.changed.wait_for(&mut changes, LOOK_AGAIN);
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let gates = self.gates;
        let (leaves, lingered) = gates.standing(|standing| {
            standing.depth -= 1;
            if standing.depth > 0 {
                return (false, false);
            }
            let was_alone = std::mem::take(&mut standing.was_alone);
            if standing.lingers > 0 && was_alone && TELLS_IDLE.get() && !gates.is_overdue() {
                return (false, false);
            }
            (std::mem::take(&mut standing.counted), std::mem::take(&mut standing.lingers) > 0)
        });
        if leaves {
            gates.step_out(&gates.counters[counter()].0);
        }
        if lingered {
            gates.open();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let gates = self.gates;
        let (lingers, was_inside) = gates.standing(|standing| {
            standing.alone = false;
            let was_inside = standing.lingers > 0;
            // Whoever is kept waiting by a long script waits no longer.
            let others_wait =
                || gates.waiting.load(SeqCst) > 0 && standing.lingers <= MOST_IN_A_ROW - ENOUGH_IN_A_ROW + 1;
            let goes_on = was_inside && !gates.is_overdue() && !others_wait();
            standing.lingers = if goes_on { standing.lingers - 1 } else { 0 };
            (standing.lingers > 0, was_inside)
        });
        if lingers {
            return;
        }
        if was_inside {
            // Back to where it stood, before anybody else can be alone.
            gates.counters[counter()].0.fetch_add(1, SeqCst);
            gates.standing(|standing| standing.counted = true);
        }
        gates.open();
    }
}

impl std::fmt::Debug for Inside<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Inside")
    }
}

impl std::fmt::Debug for Alone<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Alone")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;
    use std::thread;

    use super::*;

    #[test]
    fn who_is_alone_is_alone_and_nobody_starves() {
        let gates = Arc::new(Gates::default());
        let (inside, value) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (gates, inside, value) = (Arc::clone(&gates), Arc::clone(&inside), Arc::clone(&value));
                thread::spawn(move || {
                    for round in 0..2000 {
                        if number % 2 == 0 {
                            let batch = gates.enter();
                            if round % 3 == 0 {
                                let alone = gates.exclude().expect("nobody takes too long");
                                assert_eq!(inside.load(SeqCst), 0);
                                let seen = value.load(SeqCst);
                                let again = gates.enter();
                                assert!(again.is_alone());
                                value.store(seen + 1, SeqCst);
                                drop(again);
                                drop(alone);
                            }
                            drop(batch);
                        } else {
                            let first = gates.enter();
                            let second = gates.enter();
                            inside.fetch_add(1, SeqCst);
                            assert!(!first.is_alone());
                            inside.fetch_sub(1, SeqCst);
                            drop(second);
                            drop(first);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
        assert_eq!(value.load(SeqCst), 2 * 667);
        assert!(gates.counters.iter().all(|counter| counter.0.load(SeqCst) == 0));
        assert!(STANDINGS.with_borrow(|all| all.is_empty()));
    }

    #[test]
    fn who_is_laid_aside_is_alone_again_when_the_thread_comes_back() {
        let gates = Gates::default();
        let batch = gates.enter();
        let alone = gates.exclude().expect("nobody takes too long");
        gates.note_overdue();
        for _ in 0..2 {
            let aside = gates.lay_aside();
            assert!(gates.enter_unless_overdue().is_err() && gates.enter_within(Duration::from_secs(60)).is_none());
            assert!(gates.exclude().is_err());
            gates.go_idle();
            drop(aside);
            assert!(gates.enter().is_alone());
        }
        drop(alone);
        drop(batch);
        assert!(gates.enter_unless_overdue().is_ok_and(|inside| !inside.is_alone()));
        assert!(gates.counters.iter().all(|counter| counter.0.load(SeqCst) == 0));
        assert!(STANDINGS.with_borrow(|all| all.is_empty()));
    }

    /// Does another thread get in?
    fn another_gets_in(gates: &Arc<Gates>) -> bool {
        let other = Arc::clone(gates);
        thread::spawn(move || other.enter_within(Duration::from_millis(5)).is_some()).join().expect("it ends")
    }

    #[test]
    fn gates_stay_closed_between_the_scripts_of_a_batch() {
        let gates = Arc::new(Gates::default());
        let gets_in = || another_gets_in(&gates);
        let batch = gates.enter();
        assert!(gets_in());
        drop(gates.exclude().expect("nobody takes too long"));
        assert!(!gets_in(), "another one may follow");
        let within = gates.enter();
        assert!(!within.is_alone());
        drop(within);
        drop(batch);
        assert!(gets_in());
        let batch = gates.enter();
        for round in 1..=2 * MOST_IN_A_ROW {
            let alone = gates.exclude().expect("nobody takes too long");
            assert!(gates.enter().is_alone());
            drop(alone);
            assert_eq!(gets_in(), round % MOST_IN_A_ROW == 0, "round {round}");
        }
        drop(batch);
        drop(gates.exclude().expect("nobody takes too long"));
        assert!(gets_in(), "who is not inside opens at once");
        assert!(gates.counters.iter().all(|counter| counter.0.load(SeqCst) == 0));
        assert!(STANDINGS.with_borrow(|all| all.is_empty()));
    }

    #[test]
    fn gates_stay_closed_until_the_thread_is_idle() {
        let gates = Arc::new(Gates::default());
        let gets_in = || another_gets_in(&gates);
        let script_of_a_client = || {
            let batch = gates.enter();
            drop(gates.exclude().expect("nobody takes too long"));
            drop(batch);
        };
        Gates::linger_until_idle();
        script_of_a_client();
        script_of_a_client();
        assert!(!gets_in());
        gates.go_idle();
        assert!(gets_in());
        script_of_a_client();
        drop(gates.enter());
        assert!(gets_in(), "what follows is no script");
        gates.go_idle();
        (0..MOST_IN_A_ROW).for_each(|_| script_of_a_client());
        assert!(gets_in(), "others have waited long enough");
        TELLS_IDLE.set(false);
        script_of_a_client();
        assert!(gets_in(), "nobody would open them");
        assert!(gates.counters.iter().all(|counter| counter.0.load(SeqCst) == 0));
        assert!(STANDINGS.with_borrow(|all| all.is_empty()));
    }

    #[test]
    fn who_waits_to_get_in_waits_for_some_scripts_only() {
        let gates = Arc::new(Gates::default());
        let batch = gates.enter();
        drop(gates.exclude().expect("nobody takes too long"));
        let other = Arc::clone(&gates);
        let waiting = thread::spawn(move || drop(other.enter()));
        while gates.waiting.load(SeqCst) == 0 {
            thread::yield_now();
        }
        for _ in 1..ENOUGH_IN_A_ROW {
            assert!(!waiting.is_finished());
            drop(gates.exclude().expect("nobody takes too long"));
        }
        waiting.join().expect("it was let in");
        drop(batch);
    }

    #[test]
    fn who_is_turned_away_waits_to_get_in_again() {
        let gates = Arc::new(Gates::default());
        let alone = gates.exclude().expect("nobody takes too long");
        let other = Arc::clone(&gates);
        let (told, tell) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            told.send(()).expect("the test waits");
            // It had got in before, with the pass of a batch.
            let batch = other.enter();
            while !other.is_overdue() {
                if let Ok(alone) = other.exclude() {
                    drop(alone);
                    thread::yield_now();
                }
            }
            assert!(other.exclude().is_err());
            assert!(other.enter_unless_overdue().is_err(), "not inside any more");
            let again = other.enter();
            drop((batch, again));
        });
        tell.recv().expect("it has begun");
        drop(alone);
        thread::sleep(Duration::from_millis(5));
        let alone = gates.exclude().expect("nobody takes too long");
        gates.note_overdue();
        thread::sleep(Duration::from_millis(20));
        drop(alone);
        thread.join().expect("no assertion failed");
        assert!(gates.counters.iter().all(|counter| counter.0.load(SeqCst) == 0));
    }

    #[test]
    fn who_would_rather_not_wait_is_turned_away() {
        let gates = Arc::new(Gates::default());
        let alone = gates.exclude().expect("nobody takes too long");
        let other = Arc::clone(&gates);
        let waiting = thread::spawn(move || {
            assert!(other.enter_within(Duration::from_millis(5)).is_none());
            let turned_away = other.enter_unless_overdue().is_err();
            // And who has time waits.
            drop(other.enter());
            turned_away
        });
        while gates.waiting.load(SeqCst) == 0 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        gates.note_overdue();
        thread::sleep(Duration::from_millis(20));
        assert!(gates.is_overdue() && gates.enter_unless_overdue().is_ok(), "who is alone passes");
        drop(alone);
        assert!(waiting.join().expect("no assertion failed"));
        assert!(!gates.is_overdue());
    }
}

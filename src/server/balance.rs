//! How many of the server threads take part, and which connections go where.
//!
//! A thread that wakes for one request pays for the wake-up alone; one that finds ten requests pays once. And threads
//! that are never busy compete with each other, and with clients on the same machine, for nothing. So half of the
//! threads serve as long as that is enough, and all of them when it is not:
//!
//! - Those that take part are the first [`Balance::width`] ones; new connections go to them in turn.
//! - [`watch`] looks ten times a second at how much processor time each of them has used. Is one busy for more than
//!   [`CROWDED`] of the time, as many take part as the work needs, and connections are handed over until all have as
//!   many. Would one thread fewer have been [`CALM`] for [`PATIENCE`] looks, the last one hands all of its over.
//! - A connection goes after it has answered a batch, by its own task: nothing is in flight then. A silent one stays
//!   where it is until it speaks.
//!
//! Scripts run on the last thread, as long as that takes no part otherwise: while one takes long, nobody can be
//! answered on its thread, and everybody else is to hear that the server is BUSY. A connection goes there before its
//! first script and stays.
//!
//! Must not know what a connection is, or how it travels.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::front::Front;
use super::serve::stopped;

/// A thread that is busy for more than this part of the time has too much to do.
const CROWDED: f64 = 0.9;
/// How busy the threads are to be when more take part.
const COMFORTABLE: f64 = 0.55;
/// With so little for each of one thread fewer, one is left out.
const CALM: f64 = 0.6;
/// The same where a single thread is left, which has no neighbours that are busier than itself.
const CALM_ALONE: f64 = 0.85;
/// After so many looks.
const PATIENCE: u32 = 10;
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(100);
/// All connections are to leave a thread.
const ALL: usize = usize::MAX;

/// One thread. Apart from the others in memory: each reads its own after every batch.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load {
    /// So many connections that pass are to go elsewhere.
    leaving: AtomicUsize,
    connections: AtomicUsize,
    /// As the system numbers it; 0: it has not begun.
    task: AtomicI32,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Balance {
    /// At least and at most so many threads take part.
    least: usize,
    most: usize,
    width: AtomicUsize,
    /// Counts new connections.
    turn: AtomicUsize,
    threads: Box<[Load]>,
}

impl Balance {
    /// Of `threads` threads, at most `most` take part. With one thread nothing ever moves.
    pub(super) fn new(threads: usize, most: usize) -> Balance {
        let least = most.div_ceil(2);
        let threads = (0..threads).map(|_| Load::default()).collect();
        Balance { least, most, width: AtomicUsize::new(least), turn: AtomicUsize::new(0), threads }
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// So many threads take part.
    pub(super) fn width(&self) -> usize {
        self.width.load(Ordering::Relaxed)
    }

    /// The calling thread is this one.
    pub(super) fn begins(&self, thread: usize) {
        self.threads[thread].task.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// The thread that scripts are to run on; none: any.
    pub(super) fn script_thread(&self) -> Option<usize> {
        let last = self.threads.len() - 1;
        (last >= self.width()).then_some(last)
    }

    /// Where the next new connection goes; not to `avoided`, if there is another thread.
    pub(super) fn next_place(&self, avoided: Option<usize>) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |count: usize| (0..count).map(move |step| (turn + step) % count).find(|&at| Some(at) != avoided);
        in_turn(self.width()).or_else(|| in_turn(self.threads.len())).unwrap_or(0)
    }

    fn connections(&self, thread: usize) -> usize {
        self.threads[thread].connections.load(Ordering::Relaxed)
    }

    /// A connection is on its way to this thread.
    pub(super) fn arrives(&self, thread: usize) {
        self.threads[thread].connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has left this thread.
    pub(super) fn leaves(&self, thread: usize) {
        self.threads[thread].connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where a connection of this thread, which has just answered, is to go; none: it stays.
    pub(super) fn destination(&self, thread: usize, runs_scripts: bool) -> Option<usize> {
        match self.threads[thread].leaving.load(Ordering::Relaxed) {
            0 => None,
            _ => self.leave(thread, runs_scripts),
        }
    }

    #[cold]
    fn leave(&self, thread: usize, runs_scripts: bool) -> Option<usize> {
        if runs_scripts && self.script_thread() == Some(thread) {
            return None;
        }
        let others = (0..self.width()).filter(|&other| other != thread);
        let to = others.min_by_key(|&other| self.connections(other))?;
        let leaving = &self.threads[thread].leaving;
        let all = leaving.load(Ordering::Relaxed) == ALL;
        if !all {
            let _ = leaving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        }
        (all || self.connections(to) < self.connections(thread)).then_some(to)
    }

    /// Decides who takes part, after a time in which each thread was busy for this part of it. `calm` counts the looks
    /// since the last at which one thread fewer would not have been enough.
    fn look(&self, busy: &[f64], calm: &mut u32) {
        let width = self.width();
        // Scripts run one after the other, on however many threads: more of these would not help their own.
        let of_scripts = self.script_thread();
        let busy = || busy.iter().enumerate().filter(|(thread, _)| Some(*thread) != of_scripts).map(|(_, busy)| *busy);
        let total: f64 = busy().sum();
        let crowded = busy().any(|busy| busy > CROWDED);
        if width < self.most && crowded {
            let needed = (total / COMFORTABLE).ceil() as usize;
            *calm = 0;
            self.spread(needed.clamp(width + 1, self.most));
        } else if width > self.least && total <= calm_for(width - 1) {
            *calm += 1;
            if *calm >= PATIENCE {
                *calm = 0;
                self.spread(width - 1);
            }
        } else {
            *calm = 0;
        }
    }

    /// Lets so many threads take part, with as many connections each.
    pub(super) fn spread(&self, width: usize) {
        self.width.store(width, Ordering::Relaxed);
        let connections: usize = (0..self.threads.len()).map(|thread| self.connections(thread)).sum();
        let share = connections.div_ceil(width);
        for (thread, load) in self.threads.iter().enumerate() {
            let leaving = if thread < width { self.connections(thread).saturating_sub(share) } else { ALL };
            load.leaving.store(leaving, Ordering::Relaxed);
        }
    }

    /// The processor time that a thread has used since it began; none: the system does not tell.
    fn used(&self, thread: usize) -> Option<Duration> {
        let task = self.threads[thread].task.load(Ordering::Relaxed);
        if task == 0 {
            return Some(Duration::ZERO);
        }
        let text = std::fs::read_to_string(format!("/proc/self/task/{task}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }
}

/// So much is little for that many threads.
fn calm_for(threads: usize) -> f64 {
    if threads == 1 { CALM_ALONE } else { CALM * threads as f64 }
}

/// Looks after the balance of a process until `stop` turns true.
pub(super) async fn watch(front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let balance = &front.balance;
    let scripting = &front.state.scripting;
    let tell = || {
        front.state.supervision.serving_threads.store(balance.width(), Ordering::Relaxed);
        scripting.set_place(balance.script_thread());
    };
    tell();
    if balance.least == balance.most {
        return;
    }
    let mut looks = interval(INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used = vec![None; balance.threads.len()];
    let (mut calm, mut last) = (0, Instant::now());
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            now = looks.tick() => {
                let elapsed = (now - last).as_secs_f64();
                last = now;
                let mut busy = Vec::with_capacity(used.len());
                for (thread, before) in used.iter_mut().enumerate() {
                    if balance.connections(thread) == 0 {
                        // Not worth a look.
                        *before = None;
                        busy.push(0.0);
                        continue;
                    }
                    let Some(now) = balance.used(thread) else {
                        // Where the system does not tell, all take part.
                        balance.spread(balance.most);
                        return tell();
                    };
                    let taken = before.map_or(Duration::ZERO, |before| now.saturating_sub(before));
                    *before = Some(now);
                    busy.push(if elapsed > 0.0 { taken.as_secs_f64() / elapsed } else { 0.0 });
                }
                // A thread that a script holds up is no sign of too many clients.
                if scripting.held_up().is_none() {
                    balance.look(&busy, &mut calm);
                    tell();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(counts: &[usize], most: usize) -> Balance {
        let balance = Balance::new(counts.len(), most);
        for (thread, &count) in counts.iter().enumerate() {
            (0..count).for_each(|_| balance.arrives(thread));
        }
        balance
    }

    /// Has connections pass until none goes any more; how many each thread has then.
    fn settle(balance: &Balance) -> Vec<usize> {
        let threads = balance.threads.len();
        while let Some((from, to)) = (0..threads).find_map(|from| {
            (balance.connections(from) > 0).then(|| Some((from, balance.destination(from, false)?))).flatten()
        }) {
            balance.leaves(from);
            balance.arrives(to);
        }
        (0..threads).map(|thread| balance.connections(thread)).collect()
    }

    #[test]
    fn new_connections_go_to_those_that_take_part_in_turn() {
        let balance = Balance::new(4, 4);
        let places: Vec<usize> = (0..4).map(|_| balance.next_place(None)).collect();
        assert_eq!((balance.width(), places), (2, vec![0, 1, 0, 1]));
        assert_eq!(balance.next_place(Some(0)), 1);
        // Where one thread takes part, another takes who comes while it is held up.
        assert_eq!(Balance::new(2, 1).next_place(Some(0)), 1);
    }

    #[test]
    fn who_has_too_much_to_do_gets_help_and_hands_over() {
        let balance = with(&[25, 25, 0, 0], 4);
        let mut calm = 0;
        balance.look(&[0.85, 0.85, 0.0, 0.0], &mut calm);
        assert_eq!((balance.width(), settle(&balance)), (2, vec![25, 25, 0, 0]));
        balance.look(&[0.95, 0.65, 0.0, 0.0], &mut calm);
        assert_eq!((balance.width(), settle(&balance)), (3, vec![17, 17, 16, 0]));
        balance.look(&[1.0, 1.0, 1.0, 0.0], &mut calm);
        assert_eq!((balance.width(), settle(&balance)), (4, vec![13, 13, 13, 11]));
        balance.look(&[1.0; 4], &mut calm);
        assert_eq!(balance.width(), 4);
    }

    #[test]
    fn who_is_not_needed_for_a_while_hands_all_over() {
        let balance = with(&[5, 5], 2);
        balance.spread(2);
        let mut calm = 0;
        for _ in 1..PATIENCE {
            balance.look(&[0.1, 0.2], &mut calm);
        }
        balance.look(&[0.5, 0.5], &mut calm);
        assert_eq!((balance.width(), calm), (2, 0), "the calm has to last");
        for _ in 0..PATIENCE {
            balance.look(&[0.1, 0.2], &mut calm);
        }
        assert_eq!((balance.width(), settle(&balance)), (1, vec![10, 0]));
        for _ in 0..2 * PATIENCE {
            balance.look(&[0.0, 0.0], &mut calm);
        }
        assert_eq!(balance.width(), 1);
    }

    #[test]
    fn scripts_have_the_last_thread_until_it_is_needed() {
        let balance = with(&[3, 4], 2);
        assert_eq!(balance.script_thread(), Some(1));
        balance.spread(1);
        assert_eq!(balance.destination(1, true), None);
        assert_eq!(balance.destination(1, false), Some(0));
        balance.spread(2);
        assert_eq!(balance.script_thread(), None);
        // With one thread for clients, the other is there for scripts all the time.
        // However busy it is: scripts run one after the other.
        let busy_with_scripts = Balance::new(2, 2);
        busy_with_scripts.look(&[0.5, 1.0], &mut 0);
        assert_eq!(busy_with_scripts.width(), 1);
        let alone = Balance::new(2, 1);
        alone.look(&[1.0, 1.0], &mut 0);
        assert_eq!(alone.script_thread(), Some(1));
    }
}

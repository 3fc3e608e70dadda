//! How many of the server threads take part, and which connections go where.
//!
//! A thread that wakes for one request pays for the wake-up alone; one that finds ten requests pays once. And threads
//! that are never busy compete with each other, and with clients on the same machine, for nothing. So half of the
//! threads serve as long as that is enough, and all of them when it is not:
//!
//! - Those that take part are the first [`Balance::width`] ones; new connections go to them in turn.
//! - [`watch`] looks ten times a second at how much processor time each of them has used, and for how long it had to
//!   wait for a processor. Is one crowded, that is without rest for more than [`CROWDED`] of the time, as many take part
//!   as the work needs, and connections are handed over until all have as many. Would one thread fewer have been
//!   [`CALM`] for [`PATIENCE`] looks, the last one hands all of its over.
//! - One more thread needs a processor. Where none is idle, as clients on the same machine keep the others busy, it would
//!   only take from them what it gives; so then there are no more than can do the work at all, unless others take the
//!   processors away from the threads that are there, for as many looks ([`CONTENDED`]).
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

/// A thread that works, or waits for a processor to work, for more than this part of the time has too much to do.
const CROWDED: f64 = 0.9;
/// A thread that waits for a processor for more than this part of the time shares it with others.
const CONTENDED: f64 = 0.2;
/// So many processors of the machine are to be idle for one more thread.
const ROOM: f64 = 0.4;
/// For so many looks: clients that come or have no more to say leave a processor idle for a moment.
const ROOM_LOOKS: u32 = 3;
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

/// What a thread did with the time between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spent {
    /// The part in which it had a processor.
    busy: f64,
    /// The part in which it waited for one.
    waiting: f64,
}

/// How a thread spent its life, as far as the system tells.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    busy: Duration,
    waiting: Duration,
}

/// What was seen at earlier looks.
#[derive(Debug, Default)]
struct Memory {
    /// Counts the looks since the last at which one thread fewer would not have been enough.
    calm: u32,
    /// Counts the looks at which a thread was crowded because it shares its processor.
    contended: u32,
    /// Counts the looks at which a thread was crowded and there was room for one more.
    room: u32,
    /// How much idle time the machine's processors had had, if that mattered.
    idle: Option<Duration>,
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

    /// Decides who takes part, after a time that the threads spent like this. `idle` tells of the idle time of the
    /// machine's processors since some moment; it is asked only while it matters, as that costs something.
    fn look(&self, spent: &[Spent], elapsed: Duration, memory: &mut Memory, idle: impl FnOnce() -> Option<Duration>) {
        let width = self.width();
        // Scripts run one after the other, on however many threads: more of these would not help their own.
        let of_scripts = self.script_thread();
        let spent =
            || spent.iter().enumerate().filter(|(thread, _)| Some(*thread) != of_scripts).map(|(_, spent)| spent);
        let total: f64 = spent().map(|spent| spent.busy).sum();
        let crowded = |spent: &&Spent| spent.busy + spent.waiting > CROWDED;
        let is_crowded = width < self.most && spent().any(|spent| crowded(&spent));
        if !is_crowded && width == self.least {
            *memory = Memory::default();
            return;
        }
        let now = idle();
        let before = std::mem::replace(&mut memory.idle, now);
        // None: not known yet.
        let has_room = match (now, before) {
            (None, _) => Some(true),
            (Some(_), None) => None,
            (Some(now), Some(before)) => Some(now.saturating_sub(before).as_secs_f64() >= ROOM * elapsed.as_secs_f64()),
        };
        if is_crowded {
            memory.calm = 0;
            let is_contended = spent().filter(crowded).any(|spent| spent.waiting > CONTENDED);
            memory.contended = if is_contended { memory.contended + 1 } else { 0 };
            memory.room = if has_room == Some(true) { memory.room + 1 } else { 0 };
            if memory.contended >= PATIENCE || memory.room >= ROOM_LOOKS {
                (memory.contended, memory.room) = (0, 0);
                let needed = (total / COMFORTABLE).ceil() as usize;
                self.spread(needed.clamp(width + 1, self.most));
            }
        } else if total <= calm_for(width - 1, has_room != Some(false)) {
            memory.calm += 1;
            if memory.calm >= PATIENCE {
                memory.calm = 0;
                self.spread(width - 1);
            }
        } else {
            memory.calm = 0;
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

    /// How a thread has spent its time since it began; none: the system does not tell.
    fn times(&self, thread: usize) -> Option<Times> {
        let task = self.threads[thread].task.load(Ordering::Relaxed);
        if task == 0 {
            return Some(Times::default());
        }
        let text = std::fs::read_to_string(format!("/proc/self/task/{task}/schedstat")).ok()?;
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok().map(Duration::from_nanos));
        Some(Times { busy: numbers.next()??, waiting: numbers.next()?? })
    }
}

/// The idle time of all processors of the machine since it started; none: the system does not tell.
fn idle_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    // "cpu", then the time spent for programs, for nice ones, and in the kernel; idle; and waiting for a disk.
    let mut fields = text.lines().next()?.split_whitespace().skip(4).map(|ticks| ticks.parse::<u64>().ok());
    let ticks = fields.next()?? + fields.next()??;
    Some(Duration::from_millis(1000 / rustix::param::clock_ticks_per_second() * ticks))
}

/// So much is little for that many threads. Without an idle processor, whatever they can do at all: one more takes from
/// others what it gives.
fn calm_for(threads: usize, has_room: bool) -> f64 {
    match threads {
        threads if !has_room => threads as f64,
        1 => CALM_ALONE,
        _ => CALM * threads as f64,
    }
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
    let mut known: Vec<Option<Times>> = vec![None; balance.threads.len()];
    let (mut memory, mut last) = (Memory::default(), Instant::now());
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            now = looks.tick() => {
                let elapsed = now - last;
                last = now;
                let mut spent = Vec::with_capacity(known.len());
                for (thread, before) in known.iter_mut().enumerate() {
                    if balance.connections(thread) == 0 {
                        // Not worth a look.
                        *before = None;
                        spent.push(Spent::default());
                        continue;
                    }
                    let Some(now) = balance.times(thread) else {
                        // Where the system does not tell, all take part.
                        balance.spread(balance.most);
                        return tell();
                    };
                    let before = before.replace(now).unwrap_or(now);
                    let part = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
                    spent.push(Spent {
                        busy: part(now.busy.saturating_sub(before.busy)),
                        waiting: part(now.waiting.saturating_sub(before.waiting)),
                    });
                }
                // A thread that a script holds up is no sign of too many clients.
                if scripting.held_up().is_none() {
                    balance.look(&spent, elapsed, &mut memory, idle_time);
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

    /// One look, on a machine with so many idle processors.
    fn look(balance: &Balance, spent: &[(f64, f64)], memory: &mut Memory, idle: f64) {
        let spent: Vec<Spent> = spent.iter().map(|&(busy, waiting)| Spent { busy, waiting }).collect();
        let since = memory.idle.unwrap_or(Duration::ZERO);
        balance.look(&spent, INTERVAL, memory, || Some(since + INTERVAL.mul_f64(idle)));
    }

    #[test]
    fn who_has_too_much_to_do_gets_help_and_hands_over() {
        let balance = with(&[25, 25, 0, 0], 4);
        let mut memory = Memory::default();
        look(&balance, &[(0.85, 0.0), (0.85, 0.0), (0.0, 0.0), (0.0, 0.0)], &mut memory, 2.0);
        assert_eq!((balance.width(), settle(&balance)), (2, vec![25, 25, 0, 0]));
        for _ in 0..ROOM_LOOKS {
            look(&balance, &[(0.95, 0.0), (0.65, 0.0), (0.0, 0.0), (0.0, 0.0)], &mut memory, 2.0);
        }
        assert_eq!(balance.width(), 2, "the first look only tells from when on a processor is idle");
        look(&balance, &[(0.85, 0.1), (0.65, 0.0), (0.0, 0.0), (0.0, 0.0)], &mut memory, 2.0);
        assert_eq!((balance.width(), settle(&balance)), (3, vec![17, 17, 16, 0]));
        for _ in 0..ROOM_LOOKS {
            look(&balance, &[(1.0, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 0.0)], &mut memory, 1.0);
        }
        assert_eq!((balance.width(), settle(&balance)), (4, vec![13, 13, 13, 11]));
        look(&balance, &[(1.0, 0.0); 4], &mut memory, 0.0);
        assert_eq!(balance.width(), 4);
    }

    #[test]
    fn without_an_idle_processor_one_more_thread_is_of_no_use() {
        let balance = with(&[50, 0], 2);
        let mut memory = Memory::default();
        for _ in 0..20 {
            look(&balance, &[(1.0, 0.0), (0.0, 0.0)], &mut memory, 0.1);
        }
        assert_eq!(balance.width(), 1);
        // Nor is one that is there, if it can be done without.
        let two = with(&[5, 5], 2);
        two.spread(2);
        let mut memory = Memory::default();
        for _ in 0..2 * PATIENCE {
            look(&two, &[(0.5, 0.1), (0.45, 0.1)], &mut memory, 0.5);
        }
        assert_eq!(two.width(), 2);
        for _ in 0..PATIENCE {
            look(&two, &[(0.5, 0.1), (0.45, 0.1)], &mut memory, 0.1);
        }
        assert_eq!(two.width(), 1);
        // What others take away from it, it gets back with two.
        let mut memory = Memory::default();
        for _ in 1..PATIENCE {
            look(&balance, &[(0.5, 0.5), (0.0, 0.0)], &mut memory, 0.0);
        }
        assert_eq!(balance.width(), 1, "a moment is no sign of others");
        look(&balance, &[(0.5, 0.5), (0.0, 0.0)], &mut memory, 0.0);
        assert_eq!(balance.width(), 2);
        // Where the system does not tell, it is tried.
        let balance = with(&[50, 0], 2);
        let mut memory = Memory::default();
        for _ in 0..ROOM_LOOKS {
            balance.look(&[Spent { busy: 1.0, waiting: 0.0 }, Spent::default()], INTERVAL, &mut memory, || None);
        }
        assert_eq!(balance.width(), 2);
    }

    #[test]
    fn the_system_tells_how_a_thread_and_the_machine_spend_their_time() {
        let balance = Balance::new(1, 1);
        balance.begins(0);
        let (times, idle) = (balance.times(0).expect("Linux tells"), idle_time().expect("Linux tells"));
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let now = balance.times(0).expect("Linux tells");
        assert!(now.busy + now.waiting >= times.busy + times.waiting + Duration::from_millis(20));
        assert!(idle_time().expect("Linux tells") >= idle);
    }

    #[test]
    fn who_is_not_needed_for_a_while_hands_all_over() {
        let balance = with(&[5, 5], 2);
        balance.spread(2);
        let mut memory = Memory::default();
        for _ in 1..PATIENCE {
            look(&balance, &[(0.1, 0.0), (0.2, 0.0)], &mut memory, 1.0);
        }
        look(&balance, &[(0.5, 0.0), (0.5, 0.0)], &mut memory, 1.0);
        assert_eq!((balance.width(), memory.calm), (2, 0), "the calm has to last");
        for _ in 0..PATIENCE {
            look(&balance, &[(0.1, 0.0), (0.2, 0.0)], &mut memory, 1.0);
        }
        assert_eq!((balance.width(), settle(&balance)), (1, vec![10, 0]));
        for _ in 0..2 * PATIENCE {
            look(&balance, &[(0.0, 0.0), (0.0, 0.0)], &mut memory, 1.0);
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
        let mut memory = Memory::default();
        for _ in 0..2 * PATIENCE {
            look(&busy_with_scripts, &[(0.5, 0.0), (1.0, 0.0)], &mut memory, 1.0);
        }
        assert_eq!(busy_with_scripts.width(), 1);
        let alone = Balance::new(2, 1);
        for _ in 0..2 * PATIENCE {
            look(&alone, &[(1.0, 0.0), (1.0, 0.0)], &mut memory, 1.0);
        }
        assert_eq!(alone.script_thread(), Some(1));
    }
}

//! Which addresses are to be dialed, and when: one attempt at a time per address, waiting longer after each failure.
//!
//! Knows no sockets: it is told what became of an attempt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two attempts. Short, as an attempt takes its time itself when nobody answers, and who wishes
/// for one says how often it is worth it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The pause after a peer turned out to have another passphrase: only an operator can change that.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The same after one that does not serve: whether it comes to serve decides what this node does.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// How many addresses are remembered. Names and members beyond that wait until others are forgotten.
const MAX_TARGETS: usize = 1024;

/// All addresses that were wished for lately.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    targets: BTreeMap<SocketAddr, Target>,
}

#[derive(Debug, Default)]
struct Target {
    /// Somebody wants a connection, beside what an attempt that is under way may bring.
    wanted: bool,
    under_way: bool,
    failures: u32,
    /// Not again before this moment of the monotonic clock.
    not_before: Duration,
    /// Why there can be no connection to the peer there, if that is so.
    refusal: Option<Refusal>,
}

/// Who it is with whom there can be no connection unless an operator changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A node that may serve clients: of another passphrase or version, or with a clock that is far off.
    Serving,
    /// A node of another passphrase that does not serve anybody.
    Idle,
}

impl Target {
    /// Is it to be dialed when its pause is over?
    fn is_waiting(&self) -> bool {
        self.wanted && !self.under_way
    }
}

impl Dialer {
    /// Wishes for a connection to `address`. It is dialed once, as soon as its pause is over; if an attempt is under way and
    /// fails, once more.
    pub fn want(&mut self, address: SocketAddr, now: Duration) {
        if !self.targets.contains_key(&address) && self.targets.len() >= MAX_TARGETS {
            self.targets.retain(|_, target| target.wanted || target.under_way || target.not_before > now);
            if self.targets.len() >= MAX_TARGETS {
                return;
            }
        }
        self.targets.entry(address).or_default().wanted = true;
    }

    /// The addresses to dial now; each counts as under way from here on.
    pub fn due(&mut self, now: Duration) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for (&address, target) in &mut self.targets {
            if target.is_waiting() && target.not_before <= now {
                target.wanted = false;
                target.under_way = true;
                due.push(address);
            }
        }
        due
    }

    /// When the next wish becomes due.
    pub fn next_due(&self) -> Option<Duration> {
        self.targets.values().filter(|target| target.is_waiting()).map(|target| target.not_before).min()
    }

    /// Is any attempt under way?
    pub fn busy(&self) -> bool {
        self.targets.values().any(|target| target.under_way)
    }

    /// Were there, when they were dialed last, peers that are refused and may serve clients?
    pub fn any_refused_serving(&self) -> bool {
        self.targets.values().any(|target| target.refusal == Some(Refusal::Serving))
    }

    /// The same of those that do not.
    pub fn any_refused_idle(&self) -> bool {
        self.targets.values().any(|target| target.refusal == Some(Refusal::Idle))
    }

    /// Was the peer at this address refused when it was dialed last?
    pub fn is_refused(&self, address: SocketAddr) -> bool {
        self.targets.get(&address).is_some_and(|target| target.refusal.is_some())
    }

    /// An attempt led to a connection.
    pub fn succeeded(&mut self, address: SocketAddr) {
        self.targets.remove(&address);
    }

    /// An attempt failed. Waits longer each time, and a little differently at every node.
    pub fn failed(&mut self, address: SocketAddr, now: Duration, random: &mut fastrand::Rng) {
        let target = self.targets.entry(address).or_default();
        target.under_way = false;
        target.refusal = None;
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << target.failures.min(10)));
        target.failures = target.failures.saturating_add(1);
        target.not_before = now + pause.mul_f64(0.75 + 0.5 * random.f64());
    }

    /// An attempt met a peer with which there can be no connection.
    pub fn refused(&mut self, address: SocketAddr, refusal: Refusal, now: Duration) {
        let target = self.targets.entry(address).or_default();
        target.under_way = false;
        target.not_before = now
            + match refusal {
                Refusal::Serving => REFUSED_PAUSE,
                Refusal::Idle => IDLE_PAUSE,
            };
        target.refusal = Some(refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "127.0.0.1:7379".parse().expect("an address")
    }

    #[test]
    fn an_address_is_dialed_once_at_a_time_and_later_after_each_failure() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut dialer = Dialer::default();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            dialer.want(address(), now);
            assert_eq!(dialer.due(now), [address()]);
            dialer.want(address(), now);
            assert_eq!(dialer.due(now), [], "one attempt at a time");
            assert_eq!(dialer.next_due(), None);
            dialer.failed(address(), now, &mut random);
            let next = dialer.next_due().expect("a wish waits");
            pauses.push(next - now);
            assert_eq!(dialer.due(next - Duration::from_nanos(1)), []);
            now = next;
        }
        assert!(pauses[0] < Duration::from_millis(320) && pauses[7] > Duration::from_millis(370), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause < Duration::from_millis(630)), "{pauses:?}");
    }

    #[test]
    fn another_passphrase_is_tried_again_slowly() {
        let mut dialer = Dialer::default();
        dialer.want(address(), Duration::ZERO);
        dialer.due(Duration::ZERO);
        dialer.refused(address(), Refusal::Idle, Duration::ZERO);
        assert!(dialer.is_refused(address()) && dialer.any_refused_idle() && !dialer.any_refused_serving());
        dialer.want(address(), Duration::ZERO);
        assert_eq!(dialer.next_due(), Some(IDLE_PAUSE));
        assert_eq!(dialer.due(IDLE_PAUSE), [address()]);
        dialer.refused(address(), Refusal::Serving, IDLE_PAUSE);
        assert!(dialer.any_refused_serving() && !dialer.any_refused_idle());
        dialer.want(address(), IDLE_PAUSE);
        assert_eq!(dialer.next_due(), Some(IDLE_PAUSE + REFUSED_PAUSE));
        dialer.due(2 * REFUSED_PAUSE);
        dialer.failed(address(), 2 * REFUSED_PAUSE, &mut fastrand::Rng::with_seed(1));
        assert!(!dialer.is_refused(address()), "it is gone");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut dialer = Dialer::default();
        for port in 0..5_000 {
            dialer.want(SocketAddr::from(([127, 0, 0, 1], port)), Duration::ZERO);
        }
        assert_eq!(dialer.due(Duration::ZERO).len(), MAX_TARGETS);
    }
}

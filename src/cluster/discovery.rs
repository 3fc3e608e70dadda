//! When to ask DNS for peers, and when to conclude that there are none.
//!
//! Knows neither names nor sockets: it is told what came out.

use std::time::Duration;

/// How long the addresses of one answer have to lead to a peer.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// For so long strangers that do not serve may come to serve: more than nodes that begin together take to find each other.
const STRANGERS_TIME: Duration = Duration::from_secs(5);

/// The pause between the first two questions; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is known about the peers at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peers {
    /// There is a connection.
    Connected,
    /// Attempts are under way.
    Dialing,
    /// A node answered that is not of this cluster, and may serve another one.
    Strangers,
    /// The same, and none of them serves.
    IdleStrangers,
    /// Nobody answers.
    Silent,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing for now.
    Rest,
    /// Look the name up.
    Ask,
    /// Tell the core that nobody is there. The search goes on.
    NobodyFound,
}

/// One search for peers. It ends with the first connection.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    state: State,
    begun: Duration,
    pause: Duration,
    told: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Asking,
    /// Waits for the addresses found to answer.
    Trying {
        until: Duration,
    },
    Pausing {
        until: Duration,
    },
}

impl Discovery {
    /// Begins to search, unless a search is under way.
    pub fn start(&mut self, now: Duration) {
        if matches!(self.state, State::Idle) {
            *self = Discovery { state: State::Pausing { until: now }, begun: now, pause: FIRST_PAUSE, told: false };
        }
    }

    /// The name was looked up, with so many addresses of other nodes.
    pub fn answered(&mut self, now: Duration, found: usize) {
        if matches!(self.state, State::Asking) {
            self.state = State::Trying { until: if found == 0 { now } else { now + ANSWER_TIME } };
        }
    }

    /// Goes on. A stranger that serves keeps a node from concluding that it is alone: the node was told the wrong passphrase,
    /// most likely, and must not take its clients' writes away from the cluster. A stranger that does not serve has no
    /// cluster, if it does not come to serve with others soon: of two nodes that begin, each may be the wrong one.
    pub fn advance(&mut self, now: Duration, peers: Peers) -> Step {
        if peers == Peers::Connected {
            self.state = State::Idle;
        }
        match self.state {
            State::Pausing { until } if until <= now => {
                self.state = State::Asking;
                Step::Ask
            }
            State::Trying { until } if until <= now || peers != Peers::Dialing => {
                self.state = State::Pausing { until: now + self.pause };
                self.pause = LONGEST_PAUSE.min(2 * self.pause);
                let may_be_a_cluster = match peers {
                    Peers::Strangers => true,
                    Peers::IdleStrangers => now < self.begun + STRANGERS_TIME,
                    Peers::Connected | Peers::Dialing | Peers::Silent => false,
                };
                if self.told || may_be_a_cluster {
                    return Step::Rest;
                }
                self.told = true;
                Step::NobodyFound
            }
            _ => Step::Rest,
        }
    }

    /// When to go on at the latest.
    pub fn next_due(&self) -> Option<Duration> {
        match self.state {
            State::Idle | State::Asking => None,
            State::Trying { until } | State::Pausing { until } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_that_is_alone_says_so_once_and_keeps_asking() {
        let mut discovery = Discovery::default();
        assert_eq!(discovery.advance(at(0), Peers::Silent), Step::Rest);
        discovery.start(at(0));
        assert_eq!(discovery.advance(at(0), Peers::Silent), Step::Ask);
        assert_eq!(discovery.advance(at(2), Peers::Silent), Step::Rest, "DNS takes its time");
        discovery.answered(at(2), 0);
        assert_eq!(discovery.advance(at(2), Peers::Silent), Step::NobodyFound);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let due = discovery.next_due().expect("it goes on");
            assert_eq!(discovery.advance(due, Peers::Silent), Step::Ask);
            discovery.answered(due, 0);
            assert_eq!(discovery.advance(due, Peers::Silent), Step::Rest);
            pauses.push(discovery.next_due().expect("it goes on") - due);
        }
        assert_eq!(pauses, [at(2), at(4), at(8), at(10), at(10), at(10)]);
        assert_eq!(discovery.advance(at(999), Peers::Connected), Step::Rest);
        assert_eq!(discovery.next_due(), None);
    }

    #[test]
    fn addresses_have_three_seconds_to_answer() {
        let mut discovery = Discovery::default();
        discovery.start(at(0));
        discovery.advance(at(0), Peers::Silent);
        discovery.answered(at(0), 2);
        assert_eq!(discovery.advance(at(2), Peers::Dialing), Step::Rest);
        assert_eq!(discovery.advance(at(3), Peers::Dialing), Step::NobodyFound);
    }

    #[test]
    fn strangers_are_not_nobody() {
        let mut discovery = Discovery::default();
        discovery.start(at(0));
        discovery.advance(at(0), Peers::Silent);
        discovery.answered(at(0), 1);
        assert_eq!(discovery.advance(at(1), Peers::Strangers), Step::Rest);
        assert_eq!(discovery.next_due(), Some(at(2)));
    }

    #[test]
    fn strangers_that_do_not_come_to_serve_are_nobody() {
        let mut discovery = Discovery::default();
        discovery.start(at(0));
        for (asked, step) in [(0, Step::Rest), (1, Step::Rest), (3, Step::Rest), (7, Step::NobodyFound)] {
            assert_eq!(discovery.advance(at(asked), Peers::IdleStrangers), Step::Ask);
            discovery.answered(at(asked), 1);
            assert_eq!(discovery.advance(at(asked), Peers::Dialing), Step::Rest);
            assert_eq!(discovery.advance(at(asked), Peers::IdleStrangers), step);
        }
    }
}

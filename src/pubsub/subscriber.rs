//! One who listens: a connection, with what is to be sent to it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::Message;
use crate::keyspace::Millis;

/// Bytes of memory that a delivery takes in addition to its message, about.
const DELIVERY_BYTES: usize = 64;

/// Something for one subscriber.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// What was published.
    Message {
        /// The pattern by which it was found; `None`: it listens to the channel itself.
        pattern: Option<Bytes>,
        /// The message.
        message: Arc<Message>,
    },
    /// A line for one who reads along (MONITOR).
    Line(Bytes),
    /// Copies of these keys are stale; `None`: of all keys.
    Stale(Option<Arc<[Bytes]>>),
    /// The client of this id, which was to be told what is stale, is gone.
    BrokenRedirection(u64),
}

impl Delivery {
    fn cost(&self) -> usize {
        DELIVERY_BYTES
            + match self {
                Delivery::Message { message, .. } => message.channel.len() + message.payload.len(),
                Delivery::Line(line) => line.len(),
                Delivery::Stale(keys) => {
                    keys.iter().flat_map(|keys| keys.iter()).map(|key| size_of::<Bytes>() + key.len()).sum()
                }
                Delivery::BrokenRedirection(_) => 0,
            }
    }
}

/// How much may wait for a subscriber; 0: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes beyond which it is cut off.
    pub hard: usize,
    /// Bytes beyond which it is cut off when that lasts.
    pub soft: usize,
    /// For how long it may.
    pub seconds: u64,
}

#[derive(Debug, Default)]
struct Mailbox {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    /// Since when there is more than the soft limit.
    over_since: Option<Millis>,
}

/// See the module's text. Its wake function must be quick.
pub struct Subscriber {
    id: u64,
    wake: Box<dyn Fn() + Send + Sync>,
    mailbox: Mutex<Mailbox>,
    has_mail: AtomicBool,
    cut_off: AtomicBool,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subscriber").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// One who listens to nothing yet. The id tells subscribers apart.
    pub fn new(id: u64, wake: Box<dyn Fn() + Send + Sync>) -> Arc<Subscriber> {
        let (mailbox, has_mail, cut_off) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Subscriber { id, wake, mailbox, has_mail, cut_off })
    }

    /// Tells subscribers apart.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes that wait to be sent, about, and in how many pieces.
    pub fn waiting(&self) -> (usize, usize) {
        let mailbox = self.mailbox.lock();
        (mailbox.bytes, mailbox.deliveries.len())
    }

    /// Is something to be sent?
    pub fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// Has it fallen too far behind? Then it gets nothing any more, and its connection ends.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    /// Takes the oldest delivery.
    pub fn take(&self) -> Option<Delivery> {
        let mut mailbox = self.mailbox.lock();
        let delivery = mailbox.deliveries.pop_front();
        mailbox.bytes -= delivery.as_ref().map_or(0, Delivery::cost);
        if delivery.is_none() {
            mailbox.deliveries.shrink_to(64);
            self.has_mail.store(false, Ordering::Release);
        }
        delivery
    }

    /// Adds a delivery and wakes the connection.
    pub fn put(&self, delivery: Delivery, limit: OutputLimit, now: Millis) {
        if self.is_cut_off() {
            return;
        }
        let mut mailbox = self.mailbox.lock();
        mailbox.bytes += delivery.cost();
        mailbox.deliveries.push_back(delivery);
        if mailbox.is_over(limit, now) {
            *mailbox = Mailbox::default();
            self.cut_off.store(true, Ordering::Release);
        }
        let is_first = !self.has_mail.swap(true, Ordering::AcqRel);
        drop(mailbox);
        if is_first || self.is_cut_off() {
            (self.wake)();
        }
    }
}

impl Mailbox {
    fn is_over(&mut self, limit: OutputLimit, now: Millis) -> bool {
        if limit.hard > 0 && self.bytes >= limit.hard {
            return true;
        }
        if limit.soft == 0 || self.bytes < limit.soft {
            self.over_since = None;
            return false;
        }
        let since = *self.over_since.get_or_insert(now);
        now.saturating_sub(since) / 1000 > limit.seconds
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn subscriber() -> (Arc<Subscriber>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let wake = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        (Subscriber::new(1, Box::new(wake)), woken)
    }

    fn delivery(length: usize) -> Delivery {
        let message = Message { sharded: false, channel: Bytes::new(), payload: vec![b'x'; length].into() };
        Delivery::Message { pattern: None, message: Arc::new(message) }
    }

    const LIMIT: OutputLimit = OutputLimit { hard: 1000, soft: 500, seconds: 2 };

    #[test]
    fn it_is_woken_once_for_what_it_has_not_taken() {
        let (subscriber, woken) = subscriber();
        subscriber.put(delivery(1), LIMIT, 0);
        subscriber.put(delivery(2), LIMIT, 0);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let lengths: Vec<usize> =
            std::iter::from_fn(|| subscriber.take()).map(|taken| taken.cost() - DELIVERY_BYTES).collect();
        assert_eq!(lengths, [1, 2]);
        assert!(!subscriber.has_mail());
        subscriber.put(delivery(3), LIMIT, 0);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn who_is_over_the_hard_limit_is_cut_off_at_once() {
        let (subscriber, woken) = subscriber();
        subscriber.put(delivery(400), LIMIT, 0);
        assert!(!subscriber.is_cut_off());
        subscriber.put(delivery(600), LIMIT, 0);
        assert!(subscriber.is_cut_off());
        assert!(subscriber.take().is_none(), "its memory is given back at once");
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn who_is_over_the_soft_limit_has_some_time() {
        let (subscriber, _) = subscriber();
        subscriber.put(delivery(600), LIMIT, 1_000);
        subscriber.take();
        subscriber.put(delivery(1), LIMIT, 2_000);
        subscriber.put(delivery(600), LIMIT, 3_000);
        subscriber.put(delivery(1), LIMIT, 5_999);
        assert!(!subscriber.is_cut_off(), "it was below in between");
        subscriber.put(delivery(1), LIMIT, 6_000);
        assert!(subscriber.is_cut_off());
        let (unlimited, _) = self::subscriber();
        unlimited.put(delivery(1 << 20), OutputLimit { hard: 0, soft: 0, seconds: 0 }, 0);
        assert!(!unlimited.is_cut_off());
    }
}

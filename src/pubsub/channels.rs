//! Who listens to which channel, and with which pattern.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Delivery, Message, Outbox, OutputLimit, Subscriber};
use crate::glob;
use crate::keyspace::{Event, EventClasses, Millis};

/// What one can listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A channel.
    Channel,
    /// All channels that fit a pattern.
    Pattern,
    /// A shard channel.
    Shard,
}

/// Those who listen, by name and by their id.
type Listeners = BTreeMap<Bytes, BTreeMap<u64, Arc<Subscriber>>>;

#[derive(Debug, Default)]
struct Registry {
    channels: Listeners,
    patterns: Listeners,
    shards: Listeners,
}

impl Registry {
    fn of(&self, topic: Topic) -> &Listeners {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shards,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut Listeners {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shards,
        }
    }
}

/// All subscriptions of a node.
#[derive(Debug)]
pub struct Channels {
    registry: RwLock<Registry>,
    hard: AtomicUsize,
    soft: AtomicUsize,
    seconds: AtomicU64,
    /// What is on its way to the peers.
    pub outbox: Outbox,
}

impl Default for Channels {
    fn default() -> Channels {
        let channels = Channels {
            registry: RwLock::default(),
            hard: AtomicUsize::new(0),
            soft: AtomicUsize::new(0),
            seconds: AtomicU64::new(0),
            outbox: Outbox::default(),
        };
        channels.set_limit(Channels::DEFAULT_LIMIT);
        channels
    }
}

impl Channels {
    /// How much may wait for a subscriber, unless configured otherwise: Redis's default.
    pub const DEFAULT_LIMIT: OutputLimit = OutputLimit { hard: 32 << 20, soft: 8 << 20, seconds: 60 };

    /// Changes how much may wait for a subscriber.
    pub fn set_limit(&self, limit: OutputLimit) {
        self.hard.store(limit.hard, Relaxed);
        self.soft.store(limit.soft, Relaxed);
        self.seconds.store(limit.seconds, Relaxed);
    }

    /// How much may wait for a subscriber.
    pub fn limit(&self) -> OutputLimit {
        let (hard, soft) = (self.hard.load(Relaxed), self.soft.load(Relaxed));
        OutputLimit { hard, soft, seconds: self.seconds.load(Relaxed) }
    }

    /// Somebody listens from now on.
    pub fn subscribe(&self, topic: Topic, name: &Bytes, subscriber: &Arc<Subscriber>) {
        let mut registry = self.registry.write();
        let listeners = registry.of_mut(topic).entry(name.clone()).or_default();
        listeners.insert(subscriber.id(), Arc::clone(subscriber));
    }

    /// Somebody does not listen any more.
    pub fn unsubscribe(&self, topic: Topic, name: &[u8], subscriber: &Subscriber) {
        let mut registry = self.registry.write();
        let named = registry.of_mut(topic);
        if let Some(listeners) = named.get_mut(name) {
            listeners.remove(&subscriber.id());
            if listeners.is_empty() {
                named.remove(name);
            }
        }
    }

    /// A client of this node publishes. Returns how often it was delivered here.
    pub fn publish(&self, message: Message, now: Millis) -> usize {
        let message = Arc::new(message);
        let receivers = self.deliver(&message, now);
        self.outbox.push(&message);
        receivers
    }

    /// Something happened to a key of this node: its subscribers learn of it. Peers have events of their own.
    pub fn announce(&self, event: &Event<'_>) {
        let Event { database, key, name, forms, at } = *event;
        if forms.has(EventClasses::BY_KEY) {
            let channel = [format!("__keyspace@{database}__:").as_bytes(), key].concat().into();
            let payload = Bytes::from_static(name.as_bytes());
            self.deliver(&Arc::new(Message { sharded: false, channel, payload }), at);
        }
        if forms.has(EventClasses::BY_EVENT) {
            let channel = format!("__keyevent@{database}__:{name}").into();
            let payload = Bytes::copy_from_slice(key);
            self.deliver(&Arc::new(Message { sharded: false, channel, payload }), at);
        }
    }

    /// Delivers a message here. Returns how often.
    pub fn deliver(&self, message: &Arc<Message>, now: Millis) -> usize {
        let (registry, limit) = (self.registry.read(), self.limit());
        let mut receivers = 0;
        let mut put = |listeners: &BTreeMap<u64, Arc<Subscriber>>, pattern: Option<&Bytes>| {
            receivers += listeners.len();
            for subscriber in listeners.values() {
                let delivery = Delivery::Message { pattern: pattern.cloned(), message: Arc::clone(message) };
                subscriber.put(delivery, limit, now);
            }
        };
        if message.sharded {
            registry.shards.get(&message.channel).into_iter().for_each(|listeners| put(listeners, None));
            return receivers;
        }
        registry.channels.get(&message.channel).into_iter().for_each(|listeners| put(listeners, None));
        for (pattern, listeners) in &registry.patterns {
            if glob::matches(pattern, &message.channel) {
                put(listeners, Some(pattern));
            }
        }
        receivers
    }

    /// The names that somebody listens to, those that fit a pattern.
    pub fn names(&self, topic: Topic, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let registry = self.registry.read();
        let fits = |name: &&Bytes| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        registry.of(topic).keys().filter(fits).cloned().collect()
    }

    /// How many names somebody listens to.
    pub fn count(&self, topic: Topic) -> usize {
        self.registry.read().of(topic).len()
    }

    /// How many listen to a name.
    pub fn listeners(&self, topic: Topic, name: &[u8]) -> usize {
        self.registry.read().of(topic).get(name).map_or(0, BTreeMap::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sharded: bool, channel: &'static [u8]) -> Message {
        Message { sharded, channel: channel.into(), payload: b"hello"[..].into() }
    }

    fn subscriber(id: u64) -> Arc<Subscriber> {
        Subscriber::new(id, Box::new(|| {}))
    }

    #[test]
    fn messages_reach_who_listens_as_often_as_they_do() {
        let channels = Channels::default();
        let (one, other) = (subscriber(1), subscriber(2));
        let name = Bytes::from_static;
        channels.subscribe(Topic::Channel, &name(b"news"), &one);
        channels.subscribe(Topic::Channel, &name(b"news"), &one);
        channels.subscribe(Topic::Pattern, &name(b"n*"), &one);
        channels.subscribe(Topic::Pattern, &name(b"n*"), &other);
        channels.subscribe(Topic::Shard, &name(b"news"), &other);
        assert_eq!(channels.publish(message(false, b"news"), 0), 3);
        assert_eq!(channels.publish(message(false, b"none"), 0), 2);
        assert_eq!(channels.publish(message(false, b"other"), 0), 0);
        assert_eq!(channels.publish(message(true, b"news"), 0), 1);
        let taken = |subscriber: &Subscriber| -> Vec<(bool, Option<Bytes>, Bytes)> {
            std::iter::from_fn(|| subscriber.take())
                .map(|taken| match taken {
                    Delivery::Message { pattern, message } => (message.sharded, pattern, message.channel.clone()),
                    other => panic!("no message: {other:?}"),
                })
                .collect()
        };
        let pattern = Some(name(b"n*"));
        assert_eq!(
            taken(&one),
            [
                (false, None, name(b"news")),
                (false, pattern.clone(), name(b"news")),
                (false, pattern.clone(), name(b"none"))
            ]
        );
        assert_eq!(
            taken(&other),
            [(false, pattern.clone(), name(b"news")), (false, pattern, name(b"none")), (true, None, name(b"news"))]
        );
    }

    #[test]
    fn nothing_is_left_of_who_went() {
        let channels = Channels::default();
        let (one, other) = (subscriber(1), subscriber(2));
        for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
            channels.subscribe(topic, &Bytes::from_static(b"a"), &one);
            channels.subscribe(topic, &Bytes::from_static(b"a"), &other);
            channels.subscribe(topic, &Bytes::from_static(b"b"), &other);
            assert_eq!((channels.count(topic), channels.listeners(topic, b"a")), (2, 2));
            assert_eq!(channels.names(topic, Some(b"[b]")), ["b"]);
            channels.unsubscribe(topic, b"a", &one);
            channels.unsubscribe(topic, b"b", &one);
            channels.unsubscribe(topic, b"c", &one);
            assert_eq!((channels.listeners(topic, b"a"), channels.listeners(topic, b"b")), (1, 1));
            channels.unsubscribe(topic, b"a", &other);
            assert_eq!(channels.names(topic, None), ["b"]);
        }
    }
}

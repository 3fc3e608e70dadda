//! What one connection listens to, and what has come for it.
//!
//! Must not know requests; it writes messages as the client reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::pubsub::{Channels, Delivery, Subscriber, Topic};
use crate::resp::Reply;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Made with the first subscription, kept as long as the connection.
    subscriber: Option<Arc<Subscriber>>,
    channels: BTreeSet<Bytes>,
    patterns: BTreeSet<Bytes>,
    shards: BTreeSet<Bytes>,
}

impl Subscriptions {
    fn of(&self, topic: Topic) -> &BTreeSet<Bytes> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shards,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut BTreeSet<Bytes> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shards,
        }
    }

    /// Does it listen to anything?
    pub fn is_empty(&self) -> bool {
        self.counts() == [0; 3]
    }

    /// To how many channels, patterns and shard channels it listens.
    pub fn counts(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shards.len()]
    }

    /// To how much of what counts together it listens: channels and patterns, or shard channels.
    pub fn count_with(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::Shard => self.shards.len(),
        }
    }

    /// All that it listens to.
    pub fn names(&self, topic: Topic) -> Vec<Bytes> {
        self.of(topic).iter().cloned().collect()
    }

    /// Listens to something, unless it does already. `make` makes the subscriber.
    pub fn add(&mut self, channels: &Channels, topic: Topic, name: &[u8], make: impl FnOnce() -> Arc<Subscriber>) {
        if self.of(topic).contains(name) {
            return;
        }
        let name = Bytes::copy_from_slice(name);
        channels.subscribe(topic, &name, self.subscriber.get_or_insert_with(make));
        self.of_mut(topic).insert(name);
    }

    /// Listens to something no longer.
    pub fn remove(&mut self, channels: &Channels, topic: Topic, name: &[u8]) {
        if self.of_mut(topic).remove(name)
            && let Some(subscriber) = &self.subscriber
        {
            channels.unsubscribe(topic, name, subscriber);
        }
    }

    /// Listens to nothing any longer. What had come before still is to be sent.
    pub fn clear(&mut self, channels: &Channels) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
            for name in self.names(topic) {
                self.remove(channels, topic, &name);
            }
        }
    }

    /// One who gets what has come, without listening to anything for it.
    pub fn subscriber(&mut self, make: impl FnOnce() -> Arc<Subscriber>) -> &Arc<Subscriber> {
        self.subscriber.get_or_insert_with(make)
    }

    /// The same, if there is one.
    pub fn existing(&self) -> Option<&Arc<Subscriber>> {
        self.subscriber.as_ref()
    }

    /// Has something come?
    pub fn has_mail(&self) -> bool {
        self.subscriber.as_ref().is_some_and(|subscriber| subscriber.has_mail())
    }

    /// Has too much come that the client did not take?
    pub fn is_cut_off(&self) -> bool {
        self.subscriber.as_ref().is_some_and(|subscriber| subscriber.is_cut_off())
    }

    /// Writes what has come, until the output has about so many bytes.
    pub fn deliver(&self, reply: &mut Reply, limit: usize) {
        let Some(subscriber) = &self.subscriber else { return };
        while reply.bytes().len() < limit
            && let Some(delivery) = subscriber.take()
        {
            write(reply, &delivery);
        }
    }
}

fn write(reply: &mut Reply, delivery: &Delivery) {
    let (pattern, message) = match delivery {
        Delivery::Message { pattern, message } => (pattern, message),
        Delivery::Line(line) => return reply.simple_bytes(line),
    };
    match pattern {
        Some(pattern) => {
            reply.push(4);
            reply.bulk(b"pmessage");
            reply.bulk(pattern);
        }
        None => {
            reply.push(3);
            reply.bulk(if message.sharded { b"smessage" } else { b"message" });
        }
    }
    reply.bulk(&message.channel);
    reply.bulk(&message.payload);
}

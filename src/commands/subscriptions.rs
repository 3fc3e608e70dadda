//! What one connection listens to, and how it is told what has come for it.
//!
//! Must not know requests; it writes messages as the client reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::pubsub::{Channels, Delivery, Subscriber, Topic};
use crate::resp::{Protocol, Reply};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Subscriptions {
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

    /// Listens to something, unless it does already.
    pub fn add(&mut self, channels: &Channels, topic: Topic, name: &[u8], subscriber: &Arc<Subscriber>) {
        if self.of(topic).contains(name) {
            return;
        }
        let name = Bytes::copy_from_slice(name);
        channels.subscribe(topic, &name, subscriber);
        self.of_mut(topic).insert(name);
    }

    /// Listens to something no longer.
    pub fn remove(&mut self, channels: &Channels, topic: Topic, name: &[u8], subscriber: &Subscriber) {
        if self.of_mut(topic).remove(name) {
            channels.unsubscribe(topic, name, subscriber);
        }
    }

    /// Listens to nothing any longer. What had come before still is to be sent.
    pub fn clear(&mut self, channels: &Channels, subscriber: &Subscriber) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
            for name in self.names(topic) {
                self.remove(channels, topic, &name, subscriber);
            }
        }
    }
}

/// Writes what has come, until the output has about so many bytes. `listens`: the client of RESP2 expects messages.
pub fn deliver(subscriber: &Subscriber, reply: &mut Reply, limit: usize, listens: bool) {
    while reply.bytes().len() < limit
        && let Some(delivery) = subscriber.take()
    {
        write(reply, &delivery, listens);
    }
}

fn write(reply: &mut Reply, delivery: &Delivery, listens: bool) {
    let (pattern, message) = match delivery {
        Delivery::Message { pattern, message } => (pattern, message),
        Delivery::Line(line) => return reply.simple_bytes(line),
        Delivery::Stale(keys) => return write_stale(reply, keys.as_deref(), listens),
        Delivery::BrokenRedirection(id) => {
            // A client of RESP2 has no way to understand it. It may have changed since this was sent.
            if reply.protocol() == Protocol::Resp3 {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(i64::try_from(*id).unwrap_or(i64::MAX));
            }
            return;
        }
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

/// That these keys are stale, or all.
fn write_stale(reply: &mut Reply, keys: Option<&[Bytes]>, listens: bool) {
    match reply.protocol() {
        Protocol::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
        Protocol::Resp2 if listens => {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(b"__redis__:invalidate");
        }
        Protocol::Resp2 => return,
    }
    match keys {
        None => reply.null(),
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
    }
}

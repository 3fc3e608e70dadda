//! Messages of channels: each node has a speaker, who numbers what it publishes, and a listener, who hears all speakers.
//!
//! A message comes to a listener at most once, and those of one speaker come in order. What was published while all nodes
//! were connected to each other, and stayed so for a while, reaches every listener: a partition loses what is published
//! during it, and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::client::{Answer, Client};
use super::machine::{CLIENT_PORT, Machine};
use super::record::Record;

/// The channel of all.
const CHANNEL: &str = "news";

/// The pause between two messages of a speaker, about.
const PAUSE: Duration = Duration::from_millis(200);

/// The pause before a new connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// So long may a message take, and so long before and after it everything has to be well for it to be missed.
const MARGIN: Duration = Duration::from_secs(1);

/// What all speakers and listeners share.
pub struct Talk {
    /// Are they to go on?
    pub going_on: Cell<bool>,
    /// Where it is written down.
    pub record: Record,
    history: RefCell<TalkHistory>,
}

#[derive(Default)]
struct TalkHistory {
    /// Speaker to the times at which its messages were published, by number; `None` where nobody knows whether it was.
    published: BTreeMap<String, Vec<Option<Duration>>>,
    hearings: Vec<Hearing>,
    violations: Vec<String>,
}

/// What one listener heard over one connection.
struct Hearing {
    listener: String,
    from: Duration,
    until: Duration,
    heard: BTreeMap<String, BTreeSet<usize>>,
}

/// Since when to when all nodes were connected.
pub type Calm = (Duration, Duration);

impl Talk {
    /// Nobody has said anything.
    pub fn new(record: Record) -> Rc<Talk> {
        Rc::new(Talk { going_on: Cell::new(true), record, history: RefCell::default() })
    }

    /// Broken promises. `calm`: when all nodes were connected.
    pub fn check(&self, calm: &[Calm]) -> Vec<String> {
        let history = self.history.borrow();
        let mut violations = history.violations.clone();
        for hearing in &history.hearings {
            for (speaker, published) in &history.published {
                let heard = hearing.heard.get(speaker);
                for (number, at) in published.iter().enumerate() {
                    let Some(at) = *at else { continue };
                    let listened = hearing.from + MARGIN <= at && at + MARGIN <= hearing.until;
                    let was_calm = calm.iter().any(|(from, until)| *from + MARGIN <= at && at + MARGIN <= *until);
                    if listened && was_calm && !heard.is_some_and(|heard| heard.contains(&number)) {
                        let at = at.as_secs_f64();
                        let who = &hearing.listener;
                        violations.push(format!("P4: {who} missed message {number} of {speaker} (at {at:.3} s)"));
                    }
                }
            }
        }
        violations
    }

    /// How many messages were published and heard.
    pub fn counts(&self) -> (usize, usize) {
        let history = self.history.borrow();
        let published = history.published.values().flatten().flatten().count();
        (published, history.hearings.iter().flat_map(|hearing| hearing.heard.values()).map(BTreeSet::len).sum())
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Lets a speaker work.
pub async fn speak(talk: Rc<Talk>, machine: Rc<Machine>, name: String) {
    let address = SocketAddr::new(machine.address, CLIENT_PORT);
    let mut connections = 0;
    while talk.going_on.get() {
        if let Ok(mut client) = Client::connect(address).await {
            connections += 1;
            let speaker = format!("{name}.{connections}");
            while talk.going_on.get() {
                sleep(PAUSE).await;
                if publish(&talk, &mut client, &speaker).await.is_err() {
                    break;
                }
            }
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn publish(talk: &Talk, client: &mut Client, speaker: &str) -> io::Result<()> {
    let number = {
        let mut history = talk.history.borrow_mut();
        let published = history.published.entry(speaker.to_owned()).or_default();
        published.push(None);
        published.len() - 1
    };
    let at = now();
    let answer = client.call(&["PUBLISH", CHANNEL, &format!("{speaker}/{number}")]).await?;
    talk.record.note(&format!("{speaker} publishes {number}: {answer:?}"));
    let Answer::Integer(_) = answer else { return Err(io::ErrorKind::Other.into()) };
    if let Some(published) = talk.history.borrow_mut().published.get_mut(speaker) {
        published[number] = Some(at);
    }
    Ok(())
}

/// Lets a listener work.
pub async fn listen(talk: Rc<Talk>, machine: Rc<Machine>, name: String) {
    let address = SocketAddr::new(machine.address, CLIENT_PORT);
    while talk.going_on.get() {
        if let Ok(client) = Client::connect(address).await {
            // It ends with the connection.
            let why = hear(&talk, client, &name).await;
            talk.record
                .note(&format!("{name} ends: {}", why.err().map_or("done".to_owned(), |error| error.to_string())));
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn hear(talk: &Talk, mut client: Client, name: &str) -> io::Result<()> {
    let Answer::List(_) = client.call(&["SUBSCRIBE", CHANNEL]).await? else { return Err(io::ErrorKind::Other.into()) };
    let place = {
        let mut history = talk.history.borrow_mut();
        let (from, heard) = (now(), BTreeMap::new());
        history.hearings.push(Hearing { listener: name.to_owned(), from, until: from, heard });
        history.hearings.len() - 1
    };
    let mut latest: BTreeMap<String, usize> = BTreeMap::new();
    while talk.going_on.get() {
        // The speaker of its own node is never silent for long, unless one of the two cannot reach the node.
        let answer = client.next().await?;
        talk.record.note(&format!("{name} hears {answer:?}"));
        let texts = answer.texts();
        let Some((speaker, number)) = texts.get(2).and_then(|text| text.split_once('/')) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let number: usize = number.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut history = talk.history.borrow_mut();
        if let Some(before) = latest.insert(speaker.to_owned(), number)
            && before >= number
        {
            let at = now().as_secs_f64();
            history.violations.push(format!("P4: {name} heard {number} of {speaker} behind {before} (at {at:.3} s)"));
        }
        let hearing = &mut history.hearings[place];
        hearing.until = now();
        hearing.heard.entry(speaker.to_owned()).or_default().insert(number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_published_in_the_calm_may_not_be_missed() {
        let talk = Talk::new(Record::default());
        let second = Duration::from_secs;
        {
            let mut history = talk.history.borrow_mut();
            let times = [Some(second(5)), Some(second(6)), None, Some(second(20)), Some(second(39))];
            history.published.insert("speaker".to_owned(), times.into());
            let heard = BTreeMap::from([("speaker".to_owned(), BTreeSet::from([0]))]);
            let (from, until) = (second(1), second(39));
            history.hearings.push(Hearing { listener: "listener".to_owned(), from, until, heard });
        }
        assert_eq!(talk.check(&[(second(10), second(30))]), ["P4: listener missed message 3 of speaker (at 20.000 s)"]);
        assert_eq!(talk.check(&[(second(0), second(10)), (second(30), second(50))]).len(), 1);
        assert!(talk.check(&[(second(0), second(6)), (second(19), second(20))]).is_empty());
        assert_eq!(talk.counts(), (4, 1));
    }
}

//! A look at everything that clients can see, at every node, when all is said and done.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::client::{Answer, Client};
use super::history::FinalData;
use super::machine::{CLIENT_PORT, Machine};

/// Who looks, and what was seen.
#[derive(Default)]
pub struct Inspector {
    /// Set: these keys are to be read at these machines.
    pub order: RefCell<Option<Order>>,
    /// It has looked.
    pub done: Cell<bool>,
    /// What each machine shows, or why nothing can be seen.
    pub seen: RefCell<BTreeMap<usize, Result<Seen, String>>>,
}

/// What a machine shows its clients: the ids of the members, and the data.
pub type Seen = (BTreeSet<String>, FinalData);

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Machines.
    pub machines: usize,
    /// Keys of strings and counters.
    pub strings: BTreeSet<String>,
    /// Keys of sets.
    pub sets: BTreeSet<String>,
    /// Keys of hashes.
    pub hashes: BTreeSet<String>,
}

/// Waits for the order and carries it out.
pub async fn run(inspector: Rc<Inspector>, machines: Vec<Rc<Machine>>) -> Result<(), Box<dyn Error>> {
    let order = loop {
        if let Some(order) = inspector.order.take() {
            break order;
        }
        sleep(Duration::from_millis(20)).await;
    };
    for machine in machines.iter().take(order.machines) {
        let seen = look(SocketAddr::new(machine.address, CLIENT_PORT), &order).await.map_err(|error| error.to_string());
        inspector.seen.borrow_mut().insert(machine.index, seen);
    }
    inspector.done.set(true);
    Ok(())
}

async fn look(address: SocketAddr, order: &Order) -> io::Result<Seen> {
    let mut client = Client::connect(address).await?;
    let members = client.call(&["HKEYS", "__swytch:members"]).await?;
    let members = members.texts().into_iter().map(str::to_owned).collect();
    let mut data = FinalData::default();
    for key in &order.strings {
        if let Answer::Text(Some(value)) = client.call(&["GET", key]).await? {
            data.strings.insert(key.clone(), value);
        }
    }
    for key in &order.sets {
        let answer = client.call(&["SMEMBERS", key]).await?;
        data.sets.insert(key.clone(), answer.texts().into_iter().map(str::to_owned).collect());
    }
    for key in &order.hashes {
        let answer = client.call(&["HGETALL", key]).await?;
        let texts = answer.texts();
        let pairs = texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
        data.hashes.insert(key.clone(), pairs);
    }
    Ok((members, data))
}

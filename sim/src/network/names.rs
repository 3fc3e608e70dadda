//! The name service of a simulation: a table, and times in which nobody answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use swytch::cluster::{BoxFuture, ResolveError, Resolver};

/// A table of names. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub struct SimulatedNames(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    services: BTreeMap<String, Vec<(String, u16)>>,
    failing: bool,
    questions: u64,
}

impl SimulatedNames {
    /// From now on, `name` has these addresses.
    pub fn set_addresses(&self, name: &str, addresses: Vec<IpAddr>) {
        self.0.lock().addresses.insert(name.to_owned(), addresses);
    }

    /// From now on, `name` has these SRV records.
    pub fn set_services(&self, name: &str, services: Vec<(String, u16)>) {
        self.0.lock().services.insert(name.to_owned(), services);
    }

    /// Does the name service fail from now on?
    pub fn set_failing(&self, failing: bool) {
        self.0.lock().failing = failing;
    }

    /// How many questions were asked so far.
    pub fn questions(&self) -> u64 {
        self.0.lock().questions
    }

    fn look_up<T: Clone>(
        &self,
        name: &str,
        records: fn(&Table) -> &BTreeMap<String, Vec<T>>,
    ) -> Result<Vec<T>, ResolveError> {
        let mut table = self.0.lock();
        table.questions += 1;
        if table.failing {
            return Err(ResolveError::Failed("the name service does not answer".to_owned()));
        }
        records(&table).get(name).cloned().ok_or(ResolveError::NotFound)
    }
}

impl Resolver for SimulatedNames {
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<(String, u16)>, ResolveError>> {
        Box::pin(async move { self.look_up(name, |table| &table.services) })
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move { self.look_up(name, |table| &table.addresses) })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn at_once<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("a table answers at once"),
        }
    }

    #[test]
    fn the_table_answers_unless_it_fails() {
        let names = SimulatedNames::default();
        names.set_addresses("cache", vec![IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(at_once(names.addresses("cache")), Ok(vec![IpAddr::from([10, 0, 0, 1])]));
        assert_eq!(at_once(names.services("cache")), Err(ResolveError::NotFound));
        names.set_services("cache", vec![("one".to_owned(), 7379)]);
        assert_eq!(at_once(names.services("cache")), Ok(vec![("one".to_owned(), 7379)]));
        names.set_failing(true);
        assert!(matches!(at_once(names.addresses("cache")), Err(ResolveError::Failed(_))));
        names.set_failing(false);
        assert!(at_once(names.addresses("cache")).is_ok());
        assert_eq!(names.questions(), 5);
    }
}

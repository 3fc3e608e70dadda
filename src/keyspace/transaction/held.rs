//! The locks of several commands that run as one: EXEC.
//!
//! All that they need is locked once, before the first of them. Each command is *lent* a [`Transaction`] with these locks
//! and the open effect; when it ends, it hands both back instead of committing. What they wrote together is one
//! effect, committed at the end: atomic at every node, and isolated from everybody else here.

use std::cell::RefCell;
use std::rc::Rc;

use super::Transaction;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Held<'k>(Rc<RefCell<Option<Transaction<'k>>>>);

impl<'k> Held<'k> {
    /// Keeps what a transaction has locked.
    pub fn new(transaction: Transaction<'k>) -> Held<'k> {
        Held(Rc::new(RefCell::new(Some(transaction))))
    }

    /// A transaction for one command, in a database. The former one must have ended: commands run one after the other,
    /// and none holds two at a time, as they would wait for each other.
    pub fn lend(&self, database: u32) -> Transaction<'k> {
        let mut transaction = self.0.borrow_mut().take().expect("a command holds one transaction at a time");
        transaction.database = database;
        transaction.home = Some(self.clone());
        transaction
    }

    /// The end of all commands: what they wrote is committed with it. `None` while one is lent.
    pub fn take(&self) -> Option<Transaction<'k>> {
        self.0.borrow_mut().take()
    }

    /// Bytes of the effect so far.
    pub fn effect_bytes(&self) -> usize {
        self.0.borrow().as_ref().map_or(0, Transaction::effect_bytes)
    }

    pub(super) fn take_back(&self, transaction: Transaction<'k>) {
        *self.0.borrow_mut() = Some(transaction);
    }
}

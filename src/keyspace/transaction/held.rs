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
pub struct Held<'k>(Rc<RefCell<Kept<'k>>>);

#[derive(Debug)]
struct Kept<'k> {
    /// Without the locks and the effect while they are lent. `None` after the end.
    transaction: Option<Transaction<'k>>,
    is_lent: bool,
}

impl<'k> Held<'k> {
    /// Keeps what a transaction has locked.
    pub fn new(transaction: Transaction<'k>) -> Held<'k> {
        Held(Rc::new(RefCell::new(Kept { transaction: Some(transaction), is_lent: false })))
    }

    /// A transaction for one command, in a database. The former one must have ended: commands run one after the other,
    /// and none holds two at a time, as they would wait for each other.
    pub fn lend(&self, database: u32) -> Transaction<'k> {
        let mut kept = self.0.borrow_mut();
        let is_lent = std::mem::replace(&mut kept.is_lent, true);
        let whole = kept.transaction.as_mut().filter(|_| !is_lent).expect("a command holds one transaction at a time");
        // Field by field: this is done for each command of a pipeline.
        Transaction {
            keyspace: whole.keyspace,
            now: whole.now,
            database,
            guards: std::mem::take(&mut whole.guards),
            origin: whole.origin.take(),
            wrote: whole.wrote,
            void: whole.void,
            quiet: false,
            home: Some(self.clone()),
            noted: Vec::new(),
            writer: None,
            inside: whole.inside.take(),
        }
    }

    /// The end of all commands: what they wrote is committed with it. `None` while one is lent.
    pub fn take(&self) -> Option<Transaction<'k>> {
        let mut kept = self.0.borrow_mut();
        if kept.is_lent { None } else { kept.transaction.take() }
    }

    /// Bytes of the effect so far.
    pub fn effect_bytes(&self) -> usize {
        self.0.borrow().transaction.as_ref().map_or(0, Transaction::effect_bytes)
    }

    /// A command has ended.
    pub(super) fn take_back(&self, lent: &mut Transaction<'k>) {
        let mut kept = self.0.borrow_mut();
        let whole = kept.transaction.as_mut().expect("what is lent is not ended");
        std::mem::swap(&mut whole.guards, &mut lent.guards);
        std::mem::swap(&mut whole.inside, &mut lent.inside);
        whole.origin = lent.origin.take();
        whole.wrote = std::mem::take(&mut lent.wrote);
        // Who wrote, and where, is asked for at the end of all.
        (whole.writer, whole.database) = (lent.writer, lent.database);
        kept.is_lent = false;
    }
}

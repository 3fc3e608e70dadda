//! What a script does: many transactions, one effect, and nobody else in between.
//!
//! An [`Exclusive`] is alone behind the [`Gates`](super::Gates). Its transactions lock what they need, as any others do, and let go;
//! nobody sees what they wrote before it ends, since nobody gets in. What they wrote is one open effect, committed at
//! the end.

use super::gates::Alone;
use super::{Keyspace, Overdue};

/// See the module's text. Dropping it commits.
#[derive(Debug)]
pub struct Exclusive<'k> {
    keyspace: &'k Keyspace,
    alone: Option<Alone<'k>>,
}

impl Keyspace {
    /// Makes what this thread does from now on one. It holds no transaction.
    ///
    /// # Errors
    /// Somebody else is alone, and takes too long: see [`super::Gates::exclude`].
    pub fn begin_exclusive(&self) -> Result<Exclusive<'_>, Overdue> {
        Ok(Exclusive { keyspace: self, alone: Some(self.gates().exclude()?) })
    }

    /// Bytes of the effect that is open, for who is alone.
    pub fn open_effect_bytes(&self) -> usize {
        self.origin.as_ref().map_or(0, |origin| origin.lock().open_bytes())
    }
}

impl Exclusive<'_> {
    /// Ends it. Returns the seq of its effect, if it is in a cluster and wrote.
    pub fn commit(mut self) -> Option<u64> {
        self.finish()
    }

    fn finish(&mut self) -> Option<u64> {
        let alone = self.alone.take()?;
        let committed = self.keyspace.origin.as_ref().and_then(|origin| origin.lock().commit());
        drop(alone);
        let (seq, outbox_was_empty) = committed?;
        if outbox_was_empty {
            self.keyspace.notify_commit();
        }
        Some(seq)
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

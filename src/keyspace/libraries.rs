//! Libraries of functions, as data: their code by their names, in one hash under a key of the system.
//!
//! So they replicate, merge, and are in snapshots as any other data; of two that were loaded under one name at the same time, the
//! later one stays. Clients read the key and do not write it, and it stays when a database is flushed.
//!
//! Must not know what the code says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Key, Keyspace, Millis, Transaction, Watcher};

/// The key of the hash, in database 0.
pub(super) const KEY: &[u8] = b"__swytch:functions";
const DATABASE: u32 = 0;

/// The code of each library by its name.
pub type Libraries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a transaction finds.
pub(super) fn find(transaction: &mut Transaction<'_>, key: Key<'_>) -> Libraries {
    transaction.select(DATABASE);
    transaction.read_quietly();
    match transaction.hash(key) {
        Ok(Some(hash)) => hash.iter().map(|(name, code)| (name.to_vec(), code.to_vec())).collect(),
        // Only a peer of a different make could put another type there.
        Ok(None) | Err(_) => Libraries::new(),
    }
}

impl Keyspace {
    pub(super) fn libraries_key(&self) -> Key<'static> {
        self.key(KEY)
    }

    /// All libraries. The watcher is touched when one comes or goes.
    pub fn libraries(&self, now: Millis, watcher: &Arc<Watcher>) -> Libraries {
        let key = self.libraries_key();
        let mut transaction = self.lock_one(now, DATABASE, key);
        transaction.watch(key, watcher);
        find(&mut transaction, key)
    }

    /// Removes these libraries, then keeps those, each in the place of one that has its name. Returns the seq of the effect.
    pub fn change_libraries<'n>(
        &self,
        now: Millis,
        removed: impl Iterator<Item = &'n [u8]>,
        kept: impl Iterator<Item = (&'n [u8], &'n [u8])>,
    ) -> Option<u64> {
        let key = self.libraries_key();
        let mut transaction = self.lock_one(now, DATABASE, key);
        for name in removed {
            let _ = transaction.hash_remove(key, name);
        }
        for (name, code) in kept {
            if transaction.hash_set(key, name, code).is_err() {
                transaction.remove(key);
                let _ = transaction.hash_set(key, name, code);
            }
        }
        transaction.commit()
    }
}

//! SCAN over the keys of a database: which positions a page visits, and what its cursor says.

use super::shard::Shard;
use super::transaction::Transaction;
use super::{Keyspace, Kind, Millis, is_system_key};

/// One page of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanPage {
    /// Where to go on; 0: at the beginning. Upper half: the shard. Lower half: positions below it are still to be visited.
    pub cursor: u64,
    /// About so many keys are visited.
    pub count: usize,
}

impl ScanPage {
    /// Visits the page. `with_shard` shows a shard to the function that it is given.
    pub(super) fn walk(
        self,
        now: Millis,
        database: u32,
        each: &mut dyn FnMut(&[u8], Kind),
        mut with_shard: impl FnMut(usize, &mut dyn FnMut(&Shard)),
    ) -> u64 {
        let ScanPage { cursor, count } = self;
        let mut shard = usize::try_from(cursor >> 32).unwrap_or(usize::MAX);
        let mut below = if cursor == 0 { u32::MAX } else { cursor as u32 } as usize;
        let mut visited = 0;
        while shard < Keyspace::SHARDS {
            with_shard(shard, &mut |contents| {
                let Some(keys) = contents.databases.get(database as usize) else {
                    below = 0;
                    return;
                };
                below = below.min(keys.len());
                while below > 0 && visited < count {
                    below -= 1;
                    visited += 1;
                    let entry = keys.at(below);
                    if entry.is_live(now) && !is_system_key(entry.key()) {
                        each(entry.key(), entry.kind());
                    }
                }
            });
            if below > 0 {
                return (shard as u64) << 32 | below as u64;
            }
            shard += 1;
            below = u32::MAX as usize;
            if visited >= count && shard < Keyspace::SHARDS {
                return (shard as u64) << 32 | u64::from(u32::MAX);
            }
        }
        0
    }
}

impl Transaction<'_> {
    /// [`Keyspace::scan`] within a transaction. Only with everything locked.
    pub fn scan(&self, page: ScanPage, each: &mut dyn FnMut(&[u8], Kind)) -> u64 {
        match self.visible_shards() {
            [] => 0,
            shards => page.walk(self.now(), self.database(), each, |shard, visit| visit(&shards[shard].1)),
        }
    }
}

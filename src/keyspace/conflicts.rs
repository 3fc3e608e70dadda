//! Counts actions that met something concurrent: metadata of their key that their origin had not seen.
//!
//! Only the general path of merging comes here, so what is not concurrent pays nothing for it. Must not know what is done
//! about a conflict.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Kind;

/// One number for each type, and one for keys that show no value.
#[derive(Debug, Default)]
pub struct Conflicts([AtomicU64; Kind::ALL.len() + 1]);

impl Conflicts {
    /// Counts one at a key of this type; `None`: the key shows no value, and the action makes none.
    pub fn note(&self, kind: Option<Kind>) {
        self.0[place(kind)].fetch_add(1, Relaxed);
    }

    /// How many there were at keys of each type; the last number is of those without a value.
    pub fn counts(&self) -> impl Iterator<Item = (Option<Kind>, u64)> {
        let kinds = Kind::ALL.iter().copied().map(Some).chain([None]);
        kinds.map(|kind| (kind, self.0[place(kind)].load(Relaxed)))
    }
}

fn place(kind: Option<Kind>) -> usize {
    kind.map_or(Kind::ALL.len(), |kind| kind as usize)
}

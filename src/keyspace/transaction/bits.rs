//! Transactions on strings of bits and on HyperLogLogs.

use super::{Key, Transaction};
use crate::effects::{Action, BitAddition, Registers};
use crate::keyspace::WrongType;
use crate::keyspace::hyperloglog::{self, Raised, Representation, Unusable};

impl Transaction<'_> {
    /// Overwrites bits of a string, which grows to hold them. The caller has checked the size limit.
    pub fn string_set_bits(&mut self, key: Key<'_>, offset: u64, width: u8, value: u64) -> Result<(), WrongType> {
        let is_live = self.string(key)?.is_some();
        self.prepare(key, is_live);
        self.write(key, Action::StringSetBits { offset, width, value }, None);
        Ok(())
    }

    /// Adds to a number within a string, which grows to hold it. The caller has checked the size limit, and that it does
    /// not fail.
    pub fn string_add_bits(&mut self, key: Key<'_>, addition: BitAddition) -> Result<(), WrongType> {
        let is_live = self.string(key)?.is_some();
        self.prepare(key, is_live);
        self.write(key, Action::StringAddBits(addition), None);
        Ok(())
    }

    /// Raises registers of a HyperLogLog; an absent key is an empty one. In a cluster they are raised also where they are
    /// as high already: that is what lets them survive a concurrent removal. True when the value has changed.
    ///
    /// A corrupt value may be found out when some of the registers are raised already.
    pub fn raise_registers(&mut self, key: Key<'_>, registers: Registers<&[u8]>) -> Result<bool, Unusable> {
        let all = registers.packed.len() / 3;
        // A sparse value that changes is short, and made here; all others change in place.
        let mut result = None;
        let raised = match self.string(key)? {
            None => Raised { changed: true, taken: all },
            Some(text) => match (hyperloglog::representation(text)?, hyperloglog::would_raise(text, &registers)) {
                (Representation::Dense, Some(changed)) => Raised { changed, taken: all },
                (Representation::Sparse, Some(false)) if !registers.dense => Raised { changed: false, taken: all },
                _ => hyperloglog::raise(result.insert(text.to_vec()), &registers)?,
            },
        };
        let taken = raised.taken * 3;
        let writes = match &result {
            Some(result) => self.string(key)?.is_none_or(|text| text != &result[..]),
            None => raised.changed || registers.recount,
        };
        if writes || (self.makes_effects() && taken > 0) {
            let is_live = self.live(key).is_some();
            self.prepare(key, is_live);
            let registers = Registers { packed: &registers.packed[..taken], ..registers };
            self.write(key, Action::StringRaiseRegisters(registers), result.as_deref());
        }
        if taken < registers.packed.len() { Err(Unusable::Corrupt) } else { Ok(raised.changed) }
    }

    /// About how many elements a HyperLogLog has; `None` without such a key. Without other nodes the number is kept in the
    /// value until that changes. In a cluster it would have to be an effect, and a read is none.
    pub fn count_elements(&mut self, key: Key<'_>) -> Result<Option<u64>, Unusable> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        if let Some(count) = hyperloglog::cached_count(text) {
            return Ok(Some(count));
        }
        let count = hyperloglog::count(text)?;
        if !self.makes_effects()
            && let Some(text) = self.text_mut(key)
        {
            hyperloglog::cache_count(text, count);
        }
        Ok(Some(count))
    }
}

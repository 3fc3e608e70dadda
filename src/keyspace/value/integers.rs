//! A small set of integers: sorted, in as many bytes each as the widest of them has needed so far.

use super::allocation;

/// Distinct integers in ascending order.
#[derive(Clone, Debug)]
pub struct Integers {
    page: Box<[u8]>,
    length: u32,
    width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two,
    Four,
    Eight,
}

impl Width {
    fn of(number: i64) -> Width {
        match number {
            -32_768..=32_767 => Width::Two,
            -2_147_483_648..=2_147_483_647 => Width::Four,
            _ => Width::Eight,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }
}

impl Integers {
    /// None.
    pub fn new() -> Integers {
        Integers { page: Box::default(), length: 0, width: Width::Two }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.page.len()
    }

    /// The integer at a position below the length.
    pub fn at(&self, position: usize) -> i64 {
        let width = self.width.bytes();
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.page[position * width..(position + 1) * width]);
        let unused = 64 - 8 * width as u32;
        (i64::from_le_bytes(bytes) << unused) >> unused
    }

    fn write(&mut self, position: usize, number: i64) {
        let width = self.width.bytes();
        self.page[position * width..(position + 1) * width].copy_from_slice(&number.to_le_bytes()[..width]);
    }

    /// Where the integer is, or where it would be.
    fn search(&self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Most sets of integers are filled in ascending order.
        if high > 0 && self.at(high - 1) < number {
            return Err(high);
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Is it there?
    pub fn contains(&self, number: i64) -> bool {
        self.search(number).is_ok()
    }

    /// Adds an integer; true when it is new.
    pub fn insert(&mut self, number: i64) -> bool {
        let Err(position) = self.search(number) else { return false };
        self.widen(Width::of(number));
        let (width, length) = (self.width.bytes(), self.len());
        if (length + 1) * width > self.page.len() {
            self.resize(allocation((length + 1) * width));
        }
        self.page.copy_within(position * width..length * width, (position + 1) * width);
        self.write(position, number);
        self.length += 1;
        true
    }

    /// Removes an integer; true when it was there.
    pub fn remove(&mut self, number: i64) -> bool {
        let Ok(position) = self.search(number) else { return false };
        let (width, length) = (self.width.bytes(), self.len());
        self.page.copy_within((position + 1) * width..length * width, position * width);
        self.length -= 1;
        let needed = allocation((length - 1) * width);
        if 2 * needed <= self.page.len() {
            self.resize(needed);
        }
        true
    }

    fn resize(&mut self, bytes: usize) {
        let mut page = std::mem::take(&mut self.page).into_vec();
        page.resize(bytes, 0);
        self.page = page.into_boxed_slice();
    }

    fn widen(&mut self, width: Width) {
        if width <= self.width {
            return;
        }
        let page = vec![0; allocation((self.len() + 1) * width.bytes())].into_boxed_slice();
        let mut wider = Integers { page, length: self.length, width };
        (0..self.len()).for_each(|position| wider.write(position, self.at(position)));
        *self = wider;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_like_a_sorted_set() {
        let mut random = fastrand::Rng::with_seed(47);
        for bits in [8, 16, 17, 32, 33, 64] {
            let (mut integers, mut model) = (Integers::new(), BTreeSet::new());
            for step in 0..4_000 {
                let shift = 64 - if step < 500 { bits.min(16) } else { bits };
                let number = match random.u8(..4) {
                    0 => model.range(random.i64(..) >> shift..).next().copied().unwrap_or(0),
                    _ => random.i64(..) >> shift,
                };
                if random.u8(..8) < if step < 2_000 { 5 } else { 2 } {
                    assert_eq!(integers.insert(number), model.insert(number));
                } else {
                    assert_eq!(integers.contains(number), model.contains(&number));
                    assert_eq!(integers.remove(number), model.remove(&number));
                }
                assert!((0..integers.len()).map(|position| integers.at(position)).eq(model.iter().copied()));
                assert!(integers.memory() <= 2 * allocation(model.len() * integers.width.bytes()).max(8));
            }
            assert_eq!(
                integers.width.bytes(),
                if bits <= 16 {
                    2
                } else if bits <= 32 {
                    4
                } else {
                    8
                }
            );
        }
    }

    #[test]
    fn the_extremes_of_each_width_fit() {
        let mut integers = Integers::new();
        for (number, memory) in [(32_767, 8), (-32_768, 8), (32_768, 16), (-2_147_483_648, 16), (i64::MIN, 48)] {
            assert!(integers.insert(number));
            assert_eq!(integers.memory(), memory);
        }
        let all: Vec<i64> = (0..5).map(|position| integers.at(position)).collect();
        assert_eq!(all, [i64::MIN, -2_147_483_648, -32_768, 32_767, 32_768]);
    }
}

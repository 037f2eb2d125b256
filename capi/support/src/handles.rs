//! Handles: numbers that C keeps, each for an object that is open.

use std::collections::{HashSet, VecDeque};

use parking_lot::RwLock;

/// What C keeps of an open object. It is odd, so it is no address of anything that is aligned; it is
/// never 0, and never given twice.
pub type Handle = usize;

/// Bits of a handle that are the number of its slot.
const SLOT_BITS: u32 = 20;

/// LIMIT: objects that are open at once.
const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// LIMIT: objects that one slot may have after each other; then it is not used again.
const MAX_GENERATION: usize = usize::MAX >> (SLOT_BITS + 1);

/// The first generation of a slot: no small number is a handle.
const FIRST_GENERATION: usize = 0x155;

/// The objects that are open, by their handles.
///
/// An object is an `Arc`, or several kinds of `Arc` in an `enum`: a call keeps what it works on, and
/// what is closed meanwhile ends with the last call on it.
pub struct Table<T> {
    slots: RwLock<Slots<T>>,
}

struct Slots<T> {
    all: Vec<Slot<T>>,
    /// The slots without an object, the one that is free the longest first.
    free: VecDeque<usize>,
}

struct Slot<T> {
    generation: usize,
    open: Option<Open<T>>,
}

struct Open<T> {
    object: T,
    /// What it was opened from, and is closed with.
    owner: Option<Handle>,
}

impl<T: Clone> Table<T> {
    /// A table of nothing.
    pub const fn new() -> Self {
        Self { slots: RwLock::new(Slots { all: Vec::new(), free: VecDeque::new() }) }
    }

    /// A handle for `object`, which is closed with `owner`; `None` if `owner` is not open, or too many
    /// objects are.
    pub fn insert(&self, object: T, owner: Option<Handle>) -> Option<Handle> {
        let mut slots = self.slots.write();
        if let Some(owner) = owner {
            slots.open(owner)?;
        }
        let open = Open { object, owner };
        if let Some(number) = slots.free.pop_front() {
            let slot = slots.all.get_mut(number)?;
            slot.open = Some(open);
            return Some(handle(number, slot.generation));
        }
        let number = slots.all.len();
        if number >= MAX_SLOTS {
            return None;
        }
        slots.all.push(Slot { generation: FIRST_GENERATION, open: Some(open) });
        Some(handle(number, FIRST_GENERATION))
    }

    /// The object of `handle`; `None` if it is not open.
    pub fn get(&self, handle: Handle) -> Option<T> {
        self.slots.read().open(handle).map(|open| open.object.clone())
    }

    /// Closes `handle`, if `may_close` its object, and all that was opened from it or from that; the object, and the
    /// others after it. `None` if it is not open.
    pub fn remove(&self, handle: Handle, may_close: impl Fn(&T) -> bool) -> Option<Vec<T>> {
        // What is closed is dropped by the caller, without the lock.
        let mut slots = self.slots.write();
        may_close(&slots.open(handle)?.object).then_some(())?;
        let mut closing = vec![handle];
        let mut owners = HashSet::from([handle]);
        // One look at all for each step from owner to owned, of which there are few.
        while !owners.is_empty() {
            let owned = slots.owned_by(&owners);
            closing.extend(&owned);
            owners = owned.into_iter().collect();
        }
        Some(closing.into_iter().filter_map(|handle| slots.close(number_of(handle))).collect())
    }

    /// The handles and objects that are open.
    pub fn all(&self) -> Vec<(Handle, T)> {
        let slots = self.slots.read();
        let numbered = slots.all.iter().enumerate();
        let open = numbered.filter_map(|(number, slot)| {
            let open = slot.open.as_ref()?;
            Some((handle(number, slot.generation), open.object.clone()))
        });
        open.collect()
    }
}

impl<T: Clone> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slots<T> {
    fn open(&self, wanted: Handle) -> Option<&Open<T>> {
        let number = number_of(wanted);
        let slot = self.all.get(number)?;
        slot.open.as_ref().filter(|_| handle(number, slot.generation) == wanted)
    }

    /// The handles of what was opened from `owners`.
    fn owned_by(&self, owners: &HashSet<Handle>) -> Vec<Handle> {
        let numbered = self.all.iter().enumerate();
        let owned = numbered.filter_map(|(number, slot)| {
            let open = slot.open.as_ref()?;
            let owner = open.owner?;
            owners.contains(&owner).then(|| handle(number, slot.generation))
        });
        owned.collect()
    }

    fn close(&mut self, number: usize) -> Option<T> {
        let slot = self.all.get_mut(number)?;
        let open = slot.open.take()?;
        if slot.generation < MAX_GENERATION {
            slot.generation = slot.generation.saturating_add(1);
            self.free.push_back(number);
        }
        Some(open.object)
    }
}

fn handle(number: usize, generation: usize) -> Handle {
    (((generation << SLOT_BITS) | number) << 1) | 1
}

fn number_of(handle: Handle) -> usize {
    (handle >> 1) & (MAX_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_closed_handle_is_refused_though_its_slot_is_used_again() {
        let table = Table::new();
        let first = table.insert(Arc::new(1), None).unwrap();
        assert_eq!(table.remove(first, |_| true), Some(vec![Arc::new(1)]));
        let second = table.insert(Arc::new(2), None).unwrap();
        assert_eq!(number_of(first), number_of(second));
        assert_eq!((table.get(first), table.get(second)), (None, Some(Arc::new(2))));
        assert_eq!(table.remove(first, |_| true), None);
    }

    #[test]
    fn what_was_opened_from_an_object_is_closed_with_it() {
        let table = Table::new();
        let owner = table.insert(Arc::new(1), None).unwrap();
        let other = table.insert(Arc::new(2), None).unwrap();
        let owned = table.insert(Arc::new(3), Some(owner)).unwrap();
        let below = table.insert(Arc::new(4), Some(owned)).unwrap();
        let closed = table.remove(owner, |_| true).unwrap();
        assert_eq!(closed, [Arc::new(1), Arc::new(3), Arc::new(4)]);
        assert_eq!(table.get(below), None);
        assert_eq!((table.get(owned), table.get(other)), (None, Some(Arc::new(2))));
        assert_eq!(table.insert(Arc::new(5), Some(owner)), None);
    }

    #[test]
    fn numbers_that_are_no_handles_are_refused() {
        let table = Table::new();
        let handle = table.insert(Arc::new(1), None).unwrap();
        for wrong in [0, 1, 2, 3, handle ^ 1, handle + 2, usize::MAX, 0xDEAD_BEEF] {
            assert_eq!(table.get(wrong), None, "{wrong:#x}");
        }
        assert_eq!(table.remove(handle, |_| false), None);
        assert!(table.get(handle).is_some());
    }

    #[test]
    fn a_slot_is_given_up_before_its_generations_repeat() {
        let table = Table::new();
        let first = table.insert(Arc::new(1), None).unwrap();
        table.remove(first, |_| true);
        table.slots.write().all[0].generation = MAX_GENERATION;
        let last = table.insert(Arc::new(2), None).unwrap();
        assert_eq!((number_of(last), last | (MAX_SLOTS - 1) << 1), (0, usize::MAX));
        table.remove(last, |_| true);
        assert_eq!(number_of(table.insert(Arc::new(3), None).unwrap()), 1);
    }
}

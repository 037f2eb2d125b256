//! Structs that C reads and frees: each is one allocation, with all that it points to.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ffi::c_char;
use std::ptr;
use std::sync::LazyLock;

use parking_lot::Mutex;

/// The alignment of a block, that of the largest number in it.
const ALIGNMENT: usize = 16;

/// The blocks that C has not freed.
///
/// A pointer that is none of them is refused, so that freeing twice, or what came from elsewhere, is an
/// error. `K` tells kinds of blocks apart that are freed by different functions.
pub struct Blocks<K> {
    live: LazyLock<Mutex<HashMap<usize, Block<K>>>>,
}

struct Block<K> {
    kind: K,
    memory: *mut u8,
    layout: Layout,
}

// SAFETY: the memory is the block's alone until it is freed, which happens once, by whichever thread.
unsafe impl<K: Send> Send for Block<K> {}

/// Where a block is laid out: first to learn its size, then in its memory.
pub struct Arena {
    /// NULL while it is measured.
    memory: *mut u8,
    size: usize,
    used: usize,
}

impl<K: PartialEq> Blocks<K> {
    /// No blocks.
    pub const fn new() -> Self {
        Self { live: LazyLock::new(|| Mutex::new(HashMap::new())) }
    }

    /// A block that begins with what `fill` returns, which points into the arena that it is given.
    /// `fill` is called twice and does the same both times. `None` if there is no memory.
    pub fn make<T: Copy>(&self, kind: K, fill: impl Fn(&mut Arena) -> T) -> Option<*const T> {
        let none: fn(&mut Arena, &T) -> Vec<u8> = |_, _| Vec::new();
        self.make_with_tail(kind, size_of::<T>(), 0, |arena| {
            let head = fill(arena);
            let tail = none(arena, &head);
            (head, tail)
        })
    }

    /// The same, with an array of `count` items from the byte `tail_at` on, over the end of `T` where
    /// C declares its first item.
    pub fn make_with_tail<T: Copy, U: Copy>(
        &self,
        kind: K,
        tail_at: usize,
        count: usize,
        fill: impl Fn(&mut Arena) -> (T, Vec<U>),
    ) -> Option<*const T> {
        let tail_size = size_of::<U>().checked_mul(count)?;
        let head_size = size_of::<T>().max(tail_at.checked_add(tail_size)?);
        let mut measured = Arena { memory: ptr::null_mut(), size: usize::MAX, used: head_size };
        fill(&mut measured);
        let layout = Layout::from_size_align(measured.used.max(1), ALIGNMENT).ok()?;
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            return None;
        }
        let mut arena = Arena { memory, size: measured.used, used: head_size };
        let (head, tail) = fill(&mut arena);
        // SAFETY: `head_size` bytes at the begin were kept for both, and the tail has `count` items.
        unsafe {
            ptr::write_unaligned(memory.cast(), head);
            for (index, item) in tail.into_iter().take(count).enumerate() {
                let place = memory.add(tail_at).cast::<U>();
                ptr::write_unaligned(place.add(index), item);
            }
        }
        self.live.lock().insert(memory.addr(), Block { kind, memory, layout });
        Some(memory.cast_const().cast())
    }

    /// Frees the block at `pointer`; false if it is no block of this `kind`.
    pub fn free<T>(&self, kind: K, pointer: *const T) -> bool {
        let mut live = self.live.lock();
        if live.get(&pointer.addr()).is_none_or(|block| block.kind != kind) {
            return false;
        }
        let Some(Block { memory, layout, .. }) = live.remove(&pointer.addr()) else {
            return false;
        };
        drop(live);
        // SAFETY: it was allocated with this layout, and nobody finds it again.
        unsafe { dealloc(memory, layout) };
        true
    }

    /// How many blocks C has.
    pub fn len(&self) -> usize {
        self.live.lock().len()
    }

    /// Whether C has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: PartialEq> Default for Blocks<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// Puts `value` into the block.
    pub fn put<T: Copy>(&mut self, value: T) -> *const T {
        self.list(&[value])
    }

    /// Puts `items` into the block, one after the other; NULL if there are none.
    pub fn list<T: Copy>(&mut self, items: &[T]) -> *const T {
        if items.is_empty() {
            return ptr::null();
        }
        let place = self.take(size_of_val(items), align_of::<T>()).cast::<T>();
        if !place.is_null() {
            // SAFETY: as many bytes were taken, and nothing else lies there.
            unsafe { ptr::copy_nonoverlapping(items.as_ptr(), place, items.len()) };
        }
        place
    }

    /// Puts `bytes` into the block, and a NUL after them.
    pub fn text(&mut self, bytes: &[u8]) -> *const c_char {
        let place = self.take(bytes.len().saturating_add(1), 1);
        if !place.is_null() {
            // SAFETY: as many bytes were taken; the last one is 0 already.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        }
        place.cast_const().cast()
    }

    /// The next `length` bytes; NULL while it is measured, and where there are no more.
    fn take(&mut self, length: usize, alignment: usize) -> *mut u8 {
        let start = self.used.checked_next_multiple_of(alignment.min(ALIGNMENT));
        let end = start.and_then(|start| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.size => {
                self.used = end;
                if self.memory.is_null() {
                    return ptr::null_mut();
                }
                // SAFETY: `end` is inside the memory.
                unsafe { self.memory.add(start) }
            }
            _ => ptr::null_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Named {
        number: u64,
        name: *const c_char,
        items: *const u32,
    }

    #[test]
    fn a_block_holds_all_that_it_points_to_and_is_freed_once() {
        let blocks = Blocks::new();
        let fill = |arena: &mut Arena| {
            let name = arena.text(b"volume");
            Named { number: 7, name, items: arena.list(&[1, 2, 3]) }
        };
        let block = blocks.make("named", fill).unwrap();
        // SAFETY: the block is not freed yet.
        let (named, name, last) = unsafe {
            let named = *block;
            (named, CStr::from_ptr(named.name), *named.items.add(2))
        };
        assert_eq!((named.number, name, last), (7, c"volume", 3));
        assert!(!blocks.free("other", block) && !blocks.free("named", &raw const fill));
        assert!(blocks.free("named", block) && !blocks.free("named", block));
        assert!(blocks.is_empty());
    }

    #[test]
    fn a_tail_lies_over_the_end_of_its_struct() {
        let blocks = Blocks::new();
        let fill = |_: &mut Arena| ([1_u32, 0], vec![10_u32, 11, 12]);
        let block = blocks.make_with_tail((), 4, 3, fill).unwrap().cast::<[u32; 4]>();
        // SAFETY: the struct and its tail have 16 bytes.
        assert_eq!(unsafe { *block }, [1, 10, 11, 12]);
        assert!(blocks.free((), block));
    }
}

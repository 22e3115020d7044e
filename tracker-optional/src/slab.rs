//! Values by number. Places are used again, and each use has a number too, so that an old reference is
//! recognised.
//!
//! Places stand in blocks, so a growing slab takes no more memory than it needs, and never moves its values.

/// Places of a block.
const BLOCK: usize = 1024;

type Place<T> = (u32, Option<T>);

/// Values by number, in places that are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    blocks: Vec<Vec<Place<T>>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { blocks: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.place_mut(at).1 = Some(value);
            return at;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let last = self.blocks.len() - 1;
        let block = &mut self.blocks[last];
        block.push((0, Some(value)));
        (before + block.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let place = self.place_mut(at);
        let value = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(at);
        Some(value)
    }

    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        self.place(at).1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.place_mut(at).1.as_mut()
    }

    pub(crate) fn use_of(&self, at: u32) -> u32 {
        self.place(at).0
    }

    fn place(&self, at: u32) -> &Place<T> {
        &self.blocks[at as usize / BLOCK][at as usize % BLOCK]
    }

    fn place_mut(&mut self, at: u32) -> &mut Place<T> {
        &mut self.blocks[at as usize / BLOCK][at as usize % BLOCK]
    }
}

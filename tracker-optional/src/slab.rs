//! Values by number. Places are used again; each use has a number too, so that an old reference is seen to be one.

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.places[at as usize].1 = Some(value);
            return at;
        }
        self.places.push((0, Some(value)));
        (self.places.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let place = &mut self.places[at as usize];
        let value = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(at);
        Some(value)
    }

    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        self.places[at as usize].1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places[at as usize].1.as_mut()
    }

    pub(crate) fn use_of(&self, at: u32) -> u32 {
        self.places[at as usize].0
    }
}

//! A list for mostly one value. Most swarms of a home are known to one node, and most nodes take part in one
//! swarm, so one value needs no memory of its own.

use std::ops::{Deref, DerefMut};

/// A list that keeps a single value in place.
#[derive(Debug, Default)]
pub(crate) enum SmallList<T> {
    #[default]
    None,
    One(T),
    #[allow(clippy::box_collection)] // Eight bytes in place of 24, for the many that are one.
    Many(Box<Vec<T>>),
}

impl<T> SmallList<T> {
    pub(crate) fn push(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(value),
            Self::One(first) => Self::Many(Box::new(vec![first, value])),
            Self::Many(mut all) => {
                all.push(value);
                Self::Many(all)
            }
        };
    }

    /// Removes the value at a place; the last value takes that place.
    pub(crate) fn swap_remove(&mut self, at: usize) {
        *self = match std::mem::take(self) {
            Self::Many(mut all) => {
                all.swap_remove(at);
                match all.len() {
                    1 => all.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(all),
                }
            }
            Self::One(_) | Self::None => Self::None,
        };
    }
}

impl<T> Deref for SmallList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(all) => all,
        }
    }
}

impl<T> DerefMut for SmallList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(value) => std::slice::from_mut(value),
            Self::Many(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        assert_eq!(size_of::<SmallList<[u32; 2]>>(), 16);
        assert_eq!(size_of::<SmallList<[u32; 3]>>(), 16);
        let (mut few, mut list) = (SmallList::None, Vec::new());
        for step in 0..60_u32 {
            // The length goes up to four and down to none, again and again.
            if step % 8 < 4 {
                few.push(step);
                list.push(step);
            } else {
                let at = step as usize % list.len();
                few.swap_remove(at);
                list.swap_remove(at);
            }
            assert_eq!(*few, *list);
        }
    }
}

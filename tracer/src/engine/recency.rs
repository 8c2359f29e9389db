//! Slots in order of their last use: doubly linked lists over slot numbers, one list per class.
//!
//! Every operation takes constant time. A slot is in at most one class.

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    class: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
    len: usize,
}

/// The lists of `CLASSES` classes, least recently used first.
#[derive(Clone, Debug)]
pub(super) struct Recency<const CLASSES: usize> {
    links: Vec<Link>,
    lists: [List; CLASSES],
}

impl<const CLASSES: usize> Default for Recency<CLASSES> {
    fn default() -> Self {
        Self { links: Vec::new(), lists: [List { first: NONE, last: NONE, len: 0 }; CLASSES] }
    }
}

impl<const CLASSES: usize> Recency<CLASSES> {
    /// Makes a slot the most recently used of a class.
    pub(super) fn touch(&mut self, slot: u32, class: u8) {
        let at = slot as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link { before: NONE, after: NONE, class: None });
        }
        if self.links[at].class == Some(class) && self.lists[usize::from(class)].last == slot {
            return;
        }
        self.remove(slot);
        let list = &mut self.lists[usize::from(class)];
        let before = std::mem::replace(&mut list.last, slot);
        list.len += 1;
        if before == NONE {
            list.first = slot;
        } else {
            self.links[before as usize].after = slot;
        }
        self.links[at] = Link { before, after: NONE, class: Some(class) };
    }

    /// Takes a slot out of its class.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get(slot as usize).copied() else {
            return;
        };
        let Some(class) = link.class else {
            return;
        };
        let list = &mut self.lists[usize::from(class)];
        list.len -= 1;
        if link.before == NONE {
            list.first = link.after;
        } else {
            self.links[link.before as usize].after = link.after;
        }
        if link.after == NONE {
            list.last = link.before;
        } else {
            self.links[link.after as usize].before = link.before;
        }
        self.links[slot as usize].class = None;
    }

    /// The least recently used slot of a class.
    pub(super) fn oldest(&self, class: u8) -> Option<u32> {
        let first = self.lists[usize::from(class)].first;
        (first != NONE).then_some(first)
    }

    /// How many slots a class has.
    pub(super) fn len(&self, class: u8) -> usize {
        self.lists[usize::from(class)].len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_list_per_class(steps in prop::collection::vec((0u32..12, prop::option::weighted(0.8, 0u8..3)), 0..200)) {
            let mut recency = Recency::<3>::default();
            let mut model: [Vec<u32>; 3] = Default::default();
            for (slot, class) in steps {
                model.iter_mut().for_each(|list| list.retain(|&other| other != slot));
                match class {
                    Some(class) => {
                        recency.touch(slot, class);
                        model[usize::from(class)].push(slot);
                    }
                    None => recency.remove(slot),
                }
                for class in 0..3u8 {
                    let list = &model[usize::from(class)];
                    prop_assert_eq!(recency.oldest(class), list.first().copied());
                    prop_assert_eq!(recency.len(class), list.len());
                }
            }
        }
    }
}

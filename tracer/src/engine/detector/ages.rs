//! How many of a set have reached an age, without a list of its members.

use std::collections::VecDeque;

/// A multiset of birth seconds, split at a moving frontier into young and old.
///
/// Nothing is stored for a member but a count in the second it was born in, so a removal needs
/// that second only, and memory is bounded by the age at which the young become old.
#[derive(Clone, Debug, Default)]
pub(super) struct Ages {
    /// Counts by birth second, oldest first, all at or after the frontier.
    young: VecDeque<(u32, u32)>,
    young_total: u64,
    old: u64,
    frontier: u32,
}

impl Ages {
    pub(super) fn insert(&mut self, born: u32) {
        if born < self.frontier {
            self.old += 1;
            return;
        }
        self.young_total += 1;
        // Births come in order but for a few that other CPUs told late.
        let at = self.young.partition_point(|&(second, _)| second < born);
        match self.young.get_mut(at) {
            Some((second, count)) if *second == born => *count += 1,
            _ => self.young.insert(at, (born, 1)),
        }
    }

    /// Takes out one that was born then; says whether it had become old.
    pub(super) fn remove(&mut self, born: u32) -> bool {
        if born < self.frontier {
            self.old = self.old.saturating_sub(1);
            return true;
        }
        let at = self.young.partition_point(|&(second, _)| second < born);
        if let Some((second, count)) = self.young.get_mut(at)
            && *second == born
        {
            *count -= 1;
            self.young_total -= 1;
            if *count == 0 {
                self.young.remove(at);
            }
        }
        false
    }

    /// Makes old all that were born before `frontier`; says how many crossed. It never moves back.
    pub(super) fn cross(&mut self, frontier: u32) -> u64 {
        self.frontier = self.frontier.max(frontier);
        let mut crossed = 0;
        while let Some(&(second, count)) = self.young.front()
            && second < self.frontier
        {
            crossed += u64::from(count);
            self.young.pop_front();
        }
        self.young_total -= crossed;
        self.old += crossed;
        crossed
    }

    pub(super) fn old(&self) -> u64 {
        self.old
    }

    /// When the youngest that is still there was born, unless all are old.
    pub(super) fn newest(&self) -> Option<u32> {
        self.young.back().map(|&(second, _)| second)
    }

    pub(super) fn total(&self) -> u64 {
        self.young_total + self.old
    }
}

#[cfg(test)]
mod tests {
    use super::Ages;

    #[test]
    fn members_cross_once_and_leave_from_either_side() {
        let mut ages = Ages::default();
        for born in [3, 3, 5, 4] {
            ages.insert(born);
        }
        assert_eq!(ages.cross(4), 2);
        assert_eq!(ages.cross(2), 0, "the frontier does not move back");
        assert_eq!((ages.old(), ages.total()), (2, 4));
        assert!(ages.remove(3), "old");
        assert!(!ages.remove(5), "young");
        ages.insert(1);
        assert_eq!((ages.old(), ages.total()), (2, 3));
    }
}

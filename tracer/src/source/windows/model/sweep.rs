//! When a table is swept: what it keeps for want of an event that was lost must not pile up in a year.

/// No table is swept that has fewer entries.
const FEW: usize = 1 << 16;

/// How large a table may grow before it is swept: twice what the last sweep left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    left: usize,
}

impl Sweep {
    /// Whether a table of this size is to be swept.
    pub(super) fn is_due(self, size: usize) -> bool {
        size >= FEW.max(2 * self.left)
    }

    /// It was swept, and this is left.
    pub(super) fn done(&mut self, left: usize) {
        self.left = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_to_twice_what_it_needs() {
        let (mut sweep, mut size) = (Sweep::default(), 0);
        for _ in 0..1_000_000 {
            size += 1;
            if sweep.is_due(size) {
                size = 100_000;
                sweep.done(size);
            }
            assert!(size <= 200_000);
        }
    }
}

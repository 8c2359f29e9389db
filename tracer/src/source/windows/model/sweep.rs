//! When to sweep a table: entries whose end was lost must not pile up in a long trace.

/// A table with fewer entries is not swept.
const FEW: usize = 1 << 16;

/// The size at which a table is swept: twice what the last sweep left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    left: usize,
}

impl Sweep {
    /// Whether a table of this size is due.
    pub(super) fn is_due(self, size: usize) -> bool {
        size >= FEW.max(2 * self.left)
    }

    /// The table was swept, and this many entries are left.
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

//! The kernel's images: the driver of an address, and the driver that requested a socket.

use crate::event::Frame;
use crate::source::windows::decoded_event::Image;
use rustc_hash::FxHashSet;
use std::mem;
use std::sync::Arc;

/// Images between every driver and its sockets.
const PLUMBING: [&str; 15] = [
    "ntoskrnl", "ntkrnlmp", "ntkrnlpa", "ntkrpamp", "hal", "tcpip", "afd", "netio", "tdx", "tdi", "fwpkclnt",
    "ndis", "wfplwfs", "cng", "msrpc",
];
/// A bound: no kernel loads as many images.
const DRIVERS_MAX: usize = 4_096;

/// Cap on unresolved kernel addresses.
const UNKNOWN_ADDRESSES_MAX: usize = 4_096;

/// The address range and name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Driver {
    base: u64,
    end: u64,
    name: Arc<str>,
}

impl Driver {
    fn is_plumbing(&self) -> bool {
        PLUMBING.contains(&self.name.to_ascii_lowercase().as_str())
    }
}

/// The kernel's images by base address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drivers(Vec<Driver>);

impl Drivers {
    /// Adds a loaded image. Images of processes are ignored.
    pub fn insert(&mut self, image: &Image) {
        let is_kernel = matches!(image.pid, 0 | 4) && is_kernel_address(image.base);
        if !is_kernel || self.0.len() >= DRIVERS_MAX {
            return;
        }
        let end = image.base.saturating_add(image.size);
        let driver = Driver { base: image.base, end, name: short(&image.path).into() };
        match self.0.binary_search_by_key(&driver.base, |known| known.base) {
            Ok(at) => self.0[at] = driver,
            Err(at) => self.0.insert(at, driver),
        }
    }

    /// The driver that a stack (innermost first) comes from: the first that is not plumbing.
    #[must_use]
    pub fn of_stack(&self, stack: impl Iterator<Item = u64>) -> Option<Arc<str>> {
        let mut drivers = stack.filter_map(|address| self.at(address));
        drivers.find(|driver| !driver.is_plumbing()).map(|driver| Arc::clone(&driver.name))
    }

    /// A stack's frames (innermost first) as names, from the driver that requested the socket on. The frames
    /// before it are the same for all.
    pub(super) fn frames(&self, stack: &[u64]) -> Vec<Frame> {
        let asks = |address: &u64| self.at(*address).is_some_and(|driver| !driver.is_plumbing());
        let from = stack.iter().position(asks).unwrap_or(0);
        stack[from..].iter().map(|&address| self.frame(address)).collect()
    }

    fn frame(&self, address: u64) -> Frame {
        self.at(address).map_or(Frame::Address(address), |driver| {
            let name = format!("{}+{:#x}", driver.name, address - driver.base);
            Frame::Named { name: name.into(), module: None }
        })
    }

    /// The kernel addresses of a stack that lie in no known image.
    pub(super) fn unknown_addresses(&self, stack: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
        stack.filter(|&address| is_kernel_address(address) && self.at(address).is_none())
    }

    fn at(&self, address: u64) -> Option<&Driver> {
        let after = self.0.partition_point(|driver| driver.base <= address);
        let driver = self.0.get(after.checked_sub(1)?)?;
        (address < driver.end).then_some(driver)
    }
}

/// Kernel addresses in no known image: a driver was loaded since, or they belong to none.
#[derive(Clone, Debug, Default)]
pub(super) struct UnknownAddresses {
    seen: FxHashSet<u64>,
    /// Some were added since the last check.
    new: bool,
}

impl UnknownAddresses {
    pub(super) fn observe(&mut self, addresses: impl Iterator<Item = u64>) {
        for address in addresses {
            if self.seen.len() >= UNKNOWN_ADDRESSES_MAX {
                return;
            }
            self.new |= self.seen.insert(address);
        }
    }

    pub(super) fn take(&mut self) -> bool {
        mem::take(&mut self.new)
    }
}

/// The kernel has the upper half of the address space, on 64-bit and 32-bit machines.
pub(super) fn is_kernel_address(address: u64) -> bool {
    address >> 63 == 1 || (0x8000_0000..=0xffff_ffff).contains(&address)
}

/// `mrxsmb` of `\SystemRoot\system32\DRIVERS\mrxsmb.sys`.
fn short(path: &str) -> &str {
    let file = base_name(path);
    file.rsplit_once('.').map_or(file, |(name, _)| name)
}

/// The part after the last backslash.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit_once('\\').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drivers(names: &[(u64, &str)]) -> Drivers {
        let mut drivers = Drivers::default();
        for &(base, name) in names {
            let path = format!("\\SystemRoot\\system32\\DRIVERS\\{name}.sys");
            drivers.insert(&Image { base: (0xffff_8000 << 32) + base, size: 0x1000, pid: 4, path });
        }
        drivers
    }

    #[test]
    fn the_first_driver_outside_the_plumbing_is_named() {
        let drivers =
            drivers(&[(0x9000, "MrxSmb"), (0x1000, "tcpip"), (0x5000, "AFD"), (0x7000, "ntoskrnl")]);
        let kernel = |offset: u64| (0xffff_8000 << 32) + offset;
        let stack = [0x1010, 0x5020, 0x7000, 0x9fff, 0x7001].map(kernel);
        assert_eq!(drivers.of_stack(stack.into_iter()).as_deref(), Some("MrxSmb"));
        let worker = [0x1010, 0x7001, 0xa000].map(kernel);
        assert_eq!(drivers.of_stack(worker.into_iter()), None, "a worker thread shows no driver");
    }

    #[test]
    fn images_of_processes_are_no_drivers() {
        let mut drivers = Drivers::default();
        drivers.insert(&Image { base: 0x7ff0_0000, size: 0x1000, pid: 7, path: "a.dll".to_owned() });
        assert_eq!(drivers, Drivers::default());
    }
}

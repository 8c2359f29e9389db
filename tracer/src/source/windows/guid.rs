//! The GUIDs of the providers.

use std::fmt;

/// A GUID in Windows' memory order: the first three groups are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the groups of `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`.
    #[must_use]
    pub const fn new(a: u32, b: u16, c: u16, d: u16, e: u64) -> Self {
        let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let ([d0, d1], [_, _, e0, e1, e2, e3, e4, e5]) = (d.to_be_bytes(), e.to_be_bytes());
        Self([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e0, e1, e2, e3, e4, e5])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e @ ..] = self.0;
        let a = u32::from_le_bytes([a0, a1, a2, a3]);
        let (b, c) = (u16::from_le_bytes([b0, b1]), u16::from_le_bytes([c0, c1]));
        write!(f, "{{{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-")?;
        e.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Microsoft-Windows-TCPIP.
pub const TCPIP: Guid = Guid::new(0x2f07_e2ee, 0x15db, 0x40f1, 0x90ef, 0x9d7b_a282_188a);
/// Microsoft-Windows-Winsock-AFD.
pub const AFD: Guid = Guid::new(0xe53c_6823, 0x7bb8, 0x44bb, 0x90dc, 0x3f86_090d_48a6);
/// Microsoft-Windows-Kernel-Process.
pub const KERNEL_PROCESS: Guid = Guid::new(0x22fb_2cd6, 0x0e7b, 0x422b, 0xa0c7, 0x2fad_1fd0_e716);
/// Lost events, reported by the session itself.
pub const LOST_EVENT: Guid = Guid::new(0x6a39_9ae0, 0x4bc6, 0x4de9, 0x870b, 0x3657_f894_7e7e);
/// The MOF provider of TCP traffic.
pub const MOF_TCP: Guid = Guid::new(0x9a28_0ac0, 0xc8e0, 0x11d1, 0x84e2, 0x00c0_4fb9_98a2);
/// The MOF provider of UDP traffic.
pub const MOF_UDP: Guid = Guid::new(0xbf3a_50c5, 0xa9c9, 0x4988, 0xa005, 0x2df0_b7c8_0f80);
/// The MOF provider of processes.
pub const MOF_PROCESS: Guid = Guid::new(0x3d6f_a8d0, 0xfe05, 0x11d0, 0x9dda, 0x00c0_4fd7_ba7c);
/// The MOF provider of images: programs, libraries, drivers.
pub const MOF_IMAGE: Guid = Guid::new(0x2cb1_5d1d, 0x5fc1, 0x11d2, 0xabe1, 0x00a0_c911_f518);
/// The MOF provider of the machine's configuration, its services included.
pub const MOF_CONFIG: Guid = Guid::new(0x0186_3a65, 0x418f, 0x4f36, 0xaefc, 0xdc0f_1d2f_d235);
/// The trace's own header.
pub const TRACE_HEADER: Guid = Guid::new(0x68fd_d900, 0x4a3e, 0x11d1, 0x84f4, 0x0000_f804_64e3);
/// Schemas that a merged trace contains.
pub const EMBEDDED_SCHEMA: Guid = Guid::new(0xbbcc_f6c1, 0x6cd1, 0x48c4, 0x80ff, 0x8394_82e3_7671);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_it() {
        assert_eq!(TCPIP.to_string(), "{2f07e2ee-15db-40f1-90ef-9d7ba282188a}");
        assert_eq!(TCPIP.0[..4], [0xee, 0xe2, 0x07, 0x2f]);
        assert_eq!(MOF_TCP.to_string(), "{9a280ac0-c8e0-11d1-84e2-00c04fb998a2}");
    }
}

//! The kernel's images as `NtQuerySystemInformation` lists them: `RTL_PROCESS_MODULES` (ntldr.h of
//! System Informer's phnt; Microsoft documents the call, not the class).

use crate::source::windows::bytes::Bytes;
use crate::source::windows::decoded_event::Image;

/// The size of a path, with its terminating zero.
const PATH_BYTES: usize = 256;
/// The process of the kernel's images.
const SYSTEM: u32 = 4;

/// Parses the list of a machine with pointers of `width` bytes. `None` when it is truncated.
#[must_use]
pub fn read(list: &[u8], width: u8) -> Option<Vec<Image>> {
    let mut bytes = Bytes(list);
    let count = bytes.u32()?;
    if width == 8 {
        bytes.u32()?; // Up to the first row.
    }
    (0..count).map(|_| image(&mut bytes, width)).collect()
}

fn image(bytes: &mut Bytes<'_>, width: u8) -> Option<Image> {
    let (_section, _mapped, base) = (bytes.pointer(width)?, bytes.pointer(width)?, bytes.pointer(width)?);
    let (size, _flags) = (bytes.u32()?, bytes.u32()?);
    let _order: [u8; 8] = bytes.array()?;
    let path = Bytes(bytes.take(PATH_BYTES)?).narrow();
    Some(Image { base, size: size.into(), pid: SYSTEM, path })
}

/// Whether the list lacks the addresses of the images: since Windows 11 24H2 only holders of
/// SeDebugPrivilege get them.
#[must_use]
pub fn are_withheld(images: &[Image]) -> bool {
    !images.is_empty() && images.iter().all(|image| image.base == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(images: &[(u64, u32, &str)], width: u8) -> Vec<u8> {
        let word = |value: u64| {
            if width == 8 { value.to_le_bytes().to_vec() } else { value.to_le_bytes()[..4].to_vec() }
        };
        let mut bytes = u32::try_from(images.len()).unwrap().to_le_bytes().to_vec();
        bytes.resize(width.into(), 0xee);
        for &(base, size, path) in images {
            bytes.extend([word(0xaaaa), word(0xbbbb), word(base)].concat());
            bytes.extend(size.to_le_bytes());
            bytes.extend([0xcc; 12]);
            let end = bytes.len() + PATH_BYTES;
            bytes.extend(path.as_bytes());
            bytes.push(0);
            bytes.resize(end, 0xdd);
        }
        bytes
    }

    #[test]
    fn images_of_both_widths() {
        for (width, base) in [(8, 0xffff_f800_0000_0000), (4, 0x8000_0000)] {
            let bytes = list(
                &[(base, 0x1000, "\\SystemRoot\\system32\\ntoskrnl.exe"), (base + 0x1000, 7, "b.sys")],
                width,
            );
            let images = read(&bytes, width).unwrap();
            let expected =
                Image { base, size: 0x1000, pid: 4, path: "\\SystemRoot\\system32\\ntoskrnl.exe".to_owned() };
            assert_eq!((images.len(), &images[0]), (2, &expected));
            assert_eq!((images[1].base, &*images[1].path), (base + 0x1000, "b.sys"));
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end], width), None, "{end}");
            }
        }
        assert_eq!(read(&[0; 8], 8), Some(Vec::new()));
        assert_eq!(read(&[0xff; 700], 8), None, "more than there are");
    }

    #[test]
    fn bases_of_0_are_withheld() {
        let images = |bases: &[u64]| {
            bases.iter().map(|&base| Image { base, size: 1, pid: 4, path: String::new() }).collect::<Vec<_>>()
        };
        assert!(are_withheld(&images(&[0, 0])));
        assert!(!are_withheld(&images(&[0, 1 << 63])), "some are there");
        assert!(!are_withheld(&[]), "a list of none withholds nothing");
    }
}

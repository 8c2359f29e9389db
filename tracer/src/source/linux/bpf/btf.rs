//! Where a member lies in a kernel struct, read from BTF, the kernel's own type information.
//!
//! Knows only structs, what leads through them, and the constants of enums. A general reader indexes
//! every name of some 130,000 types before it answers (90–140 ms); this one walks the table once and
//! compares names when asked (a few ms), which matters because tracing cannot start before it.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h. Bit positions are those of a
//! little-endian machine, the only kind that the probes are built for.

use std::ffi::CStr;

/// The running kernel's type information.
pub const BTF: &str = "/sys/kernel/btf/vmlinux";

/// `BTF_MAGIC`, read in the machine's own byte order.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_header` up to `str_len`; newer kernels append to it.
const HEADER_BYTES: usize = 24;
/// `struct btf_type` without what follows it.
const TYPE_BYTES: usize = 12;
/// `struct btf_member`.
const MEMBER_BYTES: usize = 12;
/// More anonymous structs inside one another, or qualifiers in a row, than any kernel has.
const DEPTH_MAX: u32 = 16;

const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
/// `struct btf_enum`.
const ENUMERATOR_BYTES: usize = 8;

/// Where a member lies, counted from the start of the struct that its path began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The byte that holds it, or the byte that holds the lowest bit of a bitfield.
    pub byte: u32,
    /// The lowest bit within that byte; 0 unless it is a bitfield.
    pub shift: u32,
    /// The width of a bitfield in bits; 0 if it is none.
    pub bits: u32,
    /// Whether it is an array.
    pub is_array: bool,
}

/// Type information that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Not BTF, or of the other byte order.
    #[error("it does not begin as BTF does")]
    NotBtf,
    /// Ends before its tables do.
    #[error("it is cut short")]
    Short,
    /// A kind of type that is newer than this reader, which therefore cannot know its length.
    #[error("it has types of kind {0}, which this version does not know")]
    UnknownKind(u32),
}

/// One entry of the type table.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// Whether member offsets carry a bitfield's width in their highest byte.
    kind_flag: bool,
    entries: usize,
    /// A size or another type's number, depending on the kind.
    size_or_type: u32,
    /// Where what follows the entry begins.
    body: usize,
}

/// The types of one kernel.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Where each type begins in `data`; type 0 is void.
    types: Vec<usize>,
    /// The numbers of all structs that have members.
    structs: Vec<usize>,
    /// The numbers of all enums.
    enums: Vec<usize>,
}

impl Btf {
    /// Reads the type table of `data`, the content of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// When `data` is no BTF, is cut short, or has kinds of types that are not known here.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        if data.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(BtfError::NotBtf);
        }
        let word = |at| u32_at(&data, at).and_then(|word| usize::try_from(word).ok());
        let header = || Some((word(4)?, word(8)?, word(12)?, word(16)?, word(20)?));
        let (header_bytes, type_at, type_bytes, string_at, string_bytes) = header().ok_or(BtfError::Short)?;
        let start = header_bytes.max(HEADER_BYTES).saturating_add(type_at);
        let end = start.saturating_add(type_bytes);
        let strings = header_bytes.saturating_add(string_at);
        if end.max(strings.saturating_add(string_bytes)) > data.len() {
            return Err(BtfError::Short);
        }
        let mut btf = Self { data, strings, types: vec![start], structs: Vec::new(), enums: Vec::new() };
        btf.index(start, end)?;
        Ok(btf)
    }

    /// Finds the member that `path` leads to, such as `sock_common.skc_net.net`: a struct's name,
    /// then members, through anonymous structs and unions but not through pointers.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<Field> {
        let (owner, members) = path.split_once('.')?;
        self.structs
            .iter()
            .filter_map(|&number| self.type_at(*self.types.get(number)?))
            .filter(|ty| self.name(ty.name) == Some(owner.as_bytes()))
            .find_map(|ty| self.walk(ty, members))
    }

    /// The value of an enum's constant, whichever enum it is of.
    #[must_use]
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.enums.iter().find_map(|&number| {
            let ty = self.type_at(*self.types.get(number)?)?;
            (0..ty.entries).find_map(|index| {
                let at = ty.body + index * ENUMERATOR_BYTES;
                let found = self.name(u32_at(&self.data, at)?)? == name.as_bytes();
                found.then(|| u32_at(&self.data, at + 4))?
            })
        })
    }

    /// Whether the kernel has a function of that name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        let mut functions =
            self.types.iter().filter_map(|at| self.type_at(*at)).filter(|ty| ty.kind == KIND_FUNC);
        functions.any(|ty| self.name(ty.name) == Some(name.as_bytes()))
    }

    /// Notes where every type begins.
    fn index(&mut self, start: usize, end: usize) -> Result<(), BtfError> {
        let mut at = start;
        while at < end {
            let ty = self.type_at(at).ok_or(BtfError::Short)?;
            if ty.kind == KIND_STRUCT && ty.entries > 0 {
                self.structs.push(self.types.len());
            } else if ty.kind == KIND_ENUM {
                self.enums.push(self.types.len());
            }
            self.types.push(at);
            at = ty.body.saturating_add(body_bytes(&ty)?);
        }
        if at == end { Ok(()) } else { Err(BtfError::Short) }
    }

    fn walk(&self, owner: Type, members: &str) -> Option<Field> {
        let (mut ty, mut bit, mut bits) = (owner, 0u32, 0);
        for name in members.split('.') {
            let found = self.member(ty, name.as_bytes(), DEPTH_MAX)?;
            (ty, bits) = (found.ty, found.bits);
            bit = bit.checked_add(found.bit)?;
        }
        Some(Field { byte: bit / 8, shift: bit % 8, bits, is_array: ty.kind == KIND_ARRAY })
    }

    /// Searches one struct or union, and the anonymous ones inside it, for a member.
    fn member(&self, owner: Type, name: &[u8], depth: u32) -> Option<Member> {
        if !matches!(owner.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        (0..owner.entries).find_map(|index| {
            let at = owner.body + index * MEMBER_BYTES;
            let own_name = self.name(u32_at(&self.data, at)?)?;
            if own_name != name && !own_name.is_empty() {
                return None;
            }
            let ty = self.resolve(u32_at(&self.data, at + 4)?)?;
            let place = u32_at(&self.data, at + 8)?;
            let (bit, bits) = if owner.kind_flag { (place & 0x00ff_ffff, place >> 24) } else { (place, 0) };
            if own_name == name {
                return Some(Member { ty, bit, bits });
            }
            let inner = self.member(ty, name, depth.checked_sub(1)?)?;
            Some(Member { bit: bit.checked_add(inner.bit)?, ..inner })
        })
    }

    /// The type of that number, without the typedefs and qualifiers around it.
    fn resolve(&self, number: u32) -> Option<Type> {
        let mut number = number;
        for _ in 0..DEPTH_MAX {
            if number == 0 {
                break; // void, as in `const void`
            }
            let ty = self.type_at(*self.types.get(usize::try_from(number).ok()?)?)?;
            // TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG
            if !matches!(ty.kind, 8..=11 | 18) {
                return Some(ty);
            }
            number = ty.size_or_type;
        }
        None
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = u32_at(&self.data, at + 4)?;
        Some(Type {
            name: u32_at(&self.data, at)?,
            // Bits 16–23 and 29–30 were always zero before they widened these two numbers.
            kind: (info >> 24) & 0x7f,
            kind_flag: info >> 31 == 1,
            entries: usize::try_from(info & 0x00ff_ffff).ok()?,
            size_or_type: u32_at(&self.data, at + 8)?,
            body: at + TYPE_BYTES,
        })
    }

    fn name(&self, at: u32) -> Option<&[u8]> {
        let start = self.strings.checked_add(usize::try_from(at).ok()?)?;
        let bytes = CStr::from_bytes_until_nul(self.data.get(start..)?).ok()?;
        Some(bytes.to_bytes())
    }
}

/// A member as its struct describes it, with its type resolved.
struct Member {
    ty: Type,
    bit: u32,
    bits: u32,
}

/// How many bytes follow a type's entry.
fn body_bytes(ty: &Type) -> Result<usize, BtfError> {
    Ok(match ty.kind {
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        KIND_ARRAY => 12,
        // FUNC_PROTO
        KIND_ENUM | 13 => 8 * ty.entries,
        // DATASEC, ENUM64
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * ty.entries,
        kind => return Err(BtfError::UnknownKind(kind)),
    })
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes BTF type by type; the first one added is number 1.
    #[derive(Default)]
    struct Blob {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Blob {
        fn words(&mut self, words: &[u32]) {
            self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        }

        fn name(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend(name.bytes().chain([0]));
            at
        }

        fn plain(mut self, kind: u32, name: &str, size_or_type: u32, body: &[u32]) -> Self {
            let name = self.name(name);
            self.words(&[name, kind << 24, size_or_type]);
            self.words(body);
            self
        }

        /// `members`: name, type, place.
        fn aggregate(mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) -> Self {
            let name = self.name(name);
            let info = kind << 24 | u32::try_from(members.len()).unwrap();
            self.words(&[name, info, 0]);
            for &(name, ty, place) in members {
                let name = self.name(name);
                self.words(&[name, ty, place]);
            }
            self
        }

        fn bytes(mut self) -> Vec<u8> {
            self.name("");
            let lengths = [self.types.len(), self.strings.len()].map(|n| u32::try_from(n).unwrap());
            let mut all = MAGIC.to_ne_bytes().to_vec();
            all.extend([1, 0]);
            for word in [24, 0, lengths[0], lengths[0], lengths[1]] {
                all.extend(u32::to_ne_bytes(word));
            }
            all.extend(self.types);
            all.extend(self.strings);
            all
        }
    }

    const FLAG: u32 = 1 << 7; // the kind_flag, seen as part of the kind

    /// `struct inner { int a; int b[2]; }; typedef const struct inner inner_t;`
    /// `struct outer { int head; union { struct { int deep; inner_t in; }; }; int flags:3, on:1; }`
    fn sample() -> Vec<u8> {
        Blob::default()
            .plain(1, "int", 4, &[32])
            .plain(KIND_ARRAY, "", 0, &[1, 1, 2])
            .aggregate(KIND_STRUCT, "inner", &[("a", 1, 0), ("b", 2, 32)])
            .plain(10, "", 3, &[])
            .plain(8, "inner_t", 4, &[])
            .aggregate(KIND_STRUCT, "", &[("deep", 1, 0), ("in", 5, 32)])
            .aggregate(KIND_UNION, "", &[("", 6, 0)])
            .aggregate(
                KIND_STRUCT | FLAG,
                "outer",
                &[("head", 1, 0), ("", 7, 32), ("flags", 1, 3 << 24 | 160), ("on", 1, 1 << 24 | 163)],
            )
            .bytes()
    }

    fn plain(byte: u32) -> Option<Field> {
        Some(Field { byte, shift: 0, bits: 0, is_array: false })
    }

    #[test]
    fn finds_members_through_anonymous_types_typedefs_and_qualifiers() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.field("outer.head"), plain(0));
        assert_eq!(btf.field("outer.deep"), plain(4));
        assert_eq!(btf.field("outer.in.a"), plain(8));
        let array = btf.field("outer.in.b");
        assert_eq!(array, Some(Field { byte: 12, shift: 0, bits: 0, is_array: true }));
    }

    #[test]
    fn finds_bitfields_by_byte_shift_and_width() {
        let btf = Btf::parse(sample()).unwrap();
        let flags = Field { byte: 20, shift: 0, bits: 3, is_array: false };
        assert_eq!(btf.field("outer.flags"), Some(flags));
        assert_eq!(btf.field("outer.on"), Some(Field { shift: 3, bits: 1, ..flags }));
    }

    #[test]
    fn finds_constants_of_enums() {
        let mut blob = Blob::default().plain(1, "int", 4, &[32]);
        let (first, second) = (blob.name("FIRST"), blob.name("SECOND"));
        blob.words(&[0, KIND_ENUM << 24 | 2, 4, first, 7, second, 18]);
        let btf = Btf::parse(blob.bytes()).unwrap();
        assert_eq!(btf.constant("FIRST"), Some(7));
        assert_eq!(btf.constant("SECOND"), Some(18));
        assert_eq!(btf.constant("THIRD"), None);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let btf = Btf::parse(sample()).unwrap();
        for path in ["outer.tail", "outer.head.a", "nobody.a", "outer", "int.a", ""] {
            assert_eq!(btf.field(path), None, "{path}");
        }
    }

    #[test]
    fn a_struct_that_contains_itself_does_not_trap_the_search() {
        let looped = Blob::default().aggregate(KIND_STRUCT, "loop", &[("", 1, 0)]).bytes();
        assert_eq!(Btf::parse(looped).unwrap().field("loop.a"), None);
        let looped =
            Blob::default().aggregate(KIND_STRUCT, "s", &[("a", 2, 0)]).plain(8, "t", 2, &[]).bytes();
        assert_eq!(Btf::parse(looped).unwrap().field("s.a"), None);
    }

    #[test]
    fn short_or_strange_input_is_refused() {
        assert_eq!(Btf::parse(Vec::new()).unwrap_err(), BtfError::NotBtf);
        assert_eq!(Btf::parse(b"\x7fELF".to_vec()).unwrap_err(), BtfError::NotBtf);
        let whole = sample();
        for length in 2..whole.len() {
            assert_eq!(Btf::parse(whole[..length].to_vec()).unwrap_err(), BtfError::Short);
        }
        let newer = Blob::default().plain(77, "", 0, &[]).bytes();
        assert_eq!(Btf::parse(newer).unwrap_err(), BtfError::UnknownKind(77));
    }
}

//! Data that is not part of the repository.

use flate2::read::{DeflateDecoder, GzDecoder};
use libtest_mimic::{Completion, Failed};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What became of a test: completed, or ignored because its data is not there.
pub(crate) type Outcome = Result<Completion, Failed>;

/// Runs `test` on the file or folder `name` of the data, if that is there.
pub(crate) fn with(name: &str, test: impl FnOnce(&Path)) -> Outcome {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("PORTLEAK_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        return Ok(Completion::ignored_with(format!("{} is not there", path.display())));
    }
    test(&path);
    Ok(Completion::Completed)
}

pub(crate) fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("the data is readable");
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut text = String::new();
        GzDecoder::new(&*bytes).read_to_string(&mut text).expect("a gzip of a text");
        return text;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The member `name` of a zip file (PKWARE's APPNOTE.TXT, local file headers).
pub(crate) fn unzip(path: &Path, name: &str) -> Vec<u8> {
    let zip = std::fs::read(path).expect("the data is readable");
    let number = |at: usize| usize::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
    let is_head =
        |at: &usize| zip[*at..].starts_with(b"PK\x03\x04") && zip[at + 30..].starts_with(name.as_bytes());
    let head = (0..zip.len() - 30).find(is_head).expect("the member is in the zip file");
    assert_eq!(number(head + 8), 8, "deflated");
    let data = head + 30 + number(head + 26) + number(head + 28);
    let mut bytes = Vec::new();
    DeflateDecoder::new(&zip[data..]).read_to_end(&mut bytes).expect("an undamaged zip file");
    bytes
}

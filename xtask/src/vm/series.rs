//! Which kernels: a series names them, the archive's offer decides the exact one.
//!
//! Debian removes a package when the next is there, so an exact name would soon be wrong.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::fmt;

/// The flavour: small packages, and all that the probes need.
const FLAVOUR: &str = "-cloud-amd64";

/// A line of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// All releases of one major and minor number.
    Of(u64, u64),
    /// Whatever is the newest.
    Newest,
}

/// The oldest kernel that is supported, those of Debian's last releases, and the newest on which no
/// workload is wrong: on 7.3 ports of kernel sockets are missing (`cargo xtask test-vm newest`).
pub(super) const ALL: [Series; 5] =
    [Series::Of(5, 10), Series::Of(6, 1), Series::Of(6, 12), Series::Of(6, 18), Series::Of(7, 2)];

/// A kernel that the archive offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// As `uname -r` will say.
    pub(crate) release: String,
    /// The packages that it comes in, modules included.
    pub(crate) packages: Vec<String>,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(major, minor) => write!(f, "{major}.{minor}"),
            Self::Newest => f.write_str("newest"),
        }
    }
}

/// The series of these names; all when none is given.
pub(crate) fn select(names: &[String]) -> Result<Vec<Series>> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    names.iter().map(|name| parse(name)).collect()
}

fn parse(name: &str) -> Result<Series> {
    let numbers = name.split_once('.').map(|(major, minor)| (major.parse(), minor.parse()));
    match numbers {
        Some((Ok(major), Ok(minor))) => Ok(Series::Of(major, minor)),
        _ if name == "newest" => Ok(Series::Newest),
        _ => bail!("`{name}` is no series of kernels; say 6.1, or newest"),
    }
}

impl Series {
    fn has(self, release: &str) -> bool {
        match self {
            Self::Of(major, minor) => release.starts_with(&format!("{major}.{minor}.")),
            Self::Newest => true,
        }
    }

    /// The newest kernel of this series among the packages on offer.
    pub(crate) fn choose(self, packages: &BTreeSet<String>) -> Option<Kernel> {
        let releases = packages.iter().filter_map(|package| package.strip_prefix("linux-image-"));
        let fitting = releases.filter(|release| {
            // `linux-image-6.12-cloud-amd64` is a name for the newest, not a kernel.
            release.ends_with(FLAVOUR) && numbers(release).len() > 2 && self.has(release)
        });
        let complete = fitting.filter_map(|release| complete(release, packages));
        complete.max_by_key(|kernel| numbers(&kernel.release))
    }
}

/// The packages of a release, if its modules are among them. From 6.19 on they are a package of
/// their own, which the archive drops first.
fn complete(release: &str, offered: &BTreeSet<String>) -> Option<Kernel> {
    let part = |part: &str| Some(format!("linux-{part}-{release}")).filter(|name| offered.contains(name));
    let (image, binary, modules) = (part("image")?, part("binary"), part("modules"));
    if binary.is_some() && modules.is_none() {
        return None;
    }
    let packages = [Some(image), binary, modules].into_iter().flatten().collect();
    Some(Kernel { release: release.to_owned(), packages })
}

/// The numbers in a release, in their order: what makes 6.1.0-56 newer than 6.1.0-9.
fn numbers(release: &str) -> Vec<u64> {
    let version = release.trim_end_matches(FLAVOUR);
    version.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 14] = [
        "linux-image-cloud-amd64",
        "linux-image-5.10.0-46-amd64",
        "linux-image-6.1-cloud-amd64",
        "linux-image-6.1.0-0.deb11.52-cloud-amd64",
        "linux-image-6.1.0-9-cloud-amd64",
        "linux-image-6.1.0-56-cloud-amd64",
        "linux-image-6.12.117+deb13-cloud-amd64",
        "linux-image-6.12.90+deb13.1-cloud-amd64",
        "linux-image-7.2.12+deb13-cloud-amd64",
        "linux-binary-7.2.12+deb13-cloud-amd64",
        "linux-binary-unsigned-7.2.12+deb13-cloud-amd64",
        "linux-modules-7.2.12+deb13-cloud-amd64",
        "linux-image-7.3.1+deb13-cloud-amd64",
        "linux-binary-7.3.1+deb13-cloud-amd64",
    ];

    fn release(series: Series) -> Option<String> {
        let offered = OFFERED.iter().map(|&name| name.to_owned()).collect();
        series.choose(&offered).map(|kernel| kernel.release)
    }

    #[test]
    fn the_newest_of_a_series_is_chosen() {
        assert_eq!(release(Series::Of(6, 1)).as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(release(Series::Of(6, 12)).as_deref(), Some("6.12.117+deb13-cloud-amd64"));
    }

    #[test]
    fn a_kernel_without_its_modules_is_passed_over() {
        assert_eq!(release(Series::Newest).as_deref(), Some("7.2.12+deb13-cloud-amd64"));
        assert_eq!(release(Series::Of(7, 3)), None);
    }

    #[test]
    fn another_flavour_will_not_do() {
        assert_eq!(release(Series::Of(5, 10)), None);
    }

    #[test]
    fn newer_kernels_come_in_three_packages() {
        let offered = OFFERED.iter().map(|&name| name.to_owned()).collect();
        let kernel = Series::Newest.choose(&offered).unwrap();
        let parts = ["image", "binary", "modules"];
        assert_eq!(kernel.packages, parts.map(|part| format!("linux-{part}-7.2.12+deb13-cloud-amd64")));
    }

    #[test]
    fn names_of_series() {
        assert_eq!(select(&[]).unwrap(), ALL);
        let names = ["5.10".to_owned(), "newest".to_owned()];
        assert_eq!(select(&names).unwrap(), [Series::Of(5, 10), Series::Newest]);
        assert!(select(&["six".to_owned()]).is_err());
        assert_eq!(ALL.map(|series| series.to_string()), ["5.10", "6.1", "6.12", "6.18", "7.2"]);
    }
}

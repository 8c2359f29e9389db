//! The output of `netsh`, in any language.
//!
//! Only the figures are parsed, by their position: the words are translated and in the code page of the
//! console. Microsoft documents the commands (`netsh interface ipv4`), not their output.

use super::exclusions::Exclusion;

/// The lowest and highest port from `netsh int ipv4 show dynamicport tcp`, which prints the first port and
/// the count. `None` for any other output.
#[must_use]
pub fn dynamic_range(output: &[u8]) -> Option<(u16, u16)> {
    let text = String::from_utf8_lossy(output);
    let mut figures = text.lines().filter_map(last_figure);
    let (start, count) = (figures.next()?, figures.next()?);
    if figures.next().is_some() || start == 0 || count == 0 {
        return None;
    }
    let high = u16::try_from(start.checked_add(count)? - 1).ok()?;
    Some((u16::try_from(start).ok()?, high))
}

/// The figure at the end of a line, after its label.
fn last_figure(line: &str) -> Option<u32> {
    let line = line.trim_end();
    let digits = line.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (name, figure) = line.split_at(line.len() - digits);
    (!name.trim().is_empty()).then(|| figure.parse().ok())?
}

/// The exclusions from `netsh int ipv4 show excludedportrange protocol=tcp`: one on each line below a line
/// of dashes, an administrator's with an asterisk. `None` for any other output.
#[must_use]
pub fn exclusions(output: &[u8]) -> Option<Vec<Exclusion>> {
    let text = String::from_utf8_lossy(output);
    let is_rule = |line: &&str| line.contains('-') && line.chars().all(|c| c == '-' || c.is_whitespace());
    let mut lines = text.lines();
    lines.find(is_rule)?;
    let mut exclusions = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (low, high, administered) = match words[..] {
            // An empty line, or the legend of the asterisk.
            _ if !line.trim_start().starts_with(|c: char| c.is_ascii_digit()) => continue,
            [low, high] => (low, high, false),
            [low, high, "*"] => (low, high, true),
            _ => return None,
        };
        let exclusion = Exclusion { low: low.parse().ok()?, high: high.parse().ok()?, administered };
        if exclusion.low > exclusion.high {
            return None;
        }
        exclusions.push(exclusion);
    }
    Some(exclusions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_output_is_read_without_harm(output in "([ -]{0,9}([0-9]{0,7}[ :*\\n-]){0,4}.{0,9}\\n){0,6}") {
            if let Some((low, high)) = dynamic_range(output.as_bytes()) {
                prop_assert!(0 < low && low <= high);
            }
            let exclusions = exclusions(output.as_bytes()).unwrap_or_default();
            prop_assert!(exclusions.iter().all(|exclusion| exclusion.low <= exclusion.high));
        }
    }

    // The English texts are from Windows. The words of the others are made up, and do not matter.
    const ENGLISH: &str = "\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\n\
                           Start Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n";
    const GERMAN: &str = "\r\nProtokoll tcp Dynamischer Portbereich\r\n---------------------------------\r\n\
                          Startport       : 1025\r\nAnzahl von Ports: 64511\r\n\r\n";
    /// In the console's code page, 932.
    const JAPANESE: &[u8] =
        b"\r\n\x83v\x83\x8d\x83g\x83R\x83\x8b tcp \x93\xae\x93I\x83|\x81[\x83g\x94\xcd\x88\xcd\r\n\
                              ---------------------------------\r\n\
                              \x8aJ\x8en\x83|\x81[\x83g      : 49152\r\n\
                              \x83|\x81[\x83g\x90\x94        : 16358\r\n\r\n";

    #[test]
    fn ranges_in_any_language() {
        assert_eq!(dynamic_range(ENGLISH.as_bytes()), Some((49_152, 65_535)));
        assert_eq!(dynamic_range(GERMAN.as_bytes()), Some((1_025, 65_535)));
        assert_eq!(dynamic_range(JAPANESE), Some((49_152, 65_509)));
        let wide = "開始ポート：10000\nポート数：255\n";
        assert_eq!(dynamic_range(wide.as_bytes()), Some((10_000, 10_254)), "a wide colon");
    }

    #[test]
    fn what_is_no_range() {
        for output in [
            "",
            "The following command was not found: int ipv4 show dynamicport tcp.\r\n",
            "Start Port : 49152\n",
            "Start Port : 0\nNumber of Ports : 16384\n",
            "Start Port : 49152\nNumber of Ports : 0\n",
            "Start Port : 49152\nNumber of Ports : 16385\n",
            "Start Port : 70000\nNumber of Ports : 1\n",
            "Start Port : 99999999999\nNumber of Ports : 1\n",
            "Start Port : 49152\nNumber of Ports : 100\nError : 5\n",
            "49152\n16384\n",
        ] {
            assert_eq!(dynamic_range(output.as_bytes()), None, "{output:?}");
        }
    }

    const EXCLUDED: &str = "\r\nProtocol tcp Port Exclusion Ranges\r\n\r\nStart Port    End Port      \r\n\
                            ----------    --------      \r\n        80          80      \r\n\
                            \x20    49671       49770      \r\n     50000       50059     *\r\n\r\n\
                            * - Administered port exclusions.\r\n\r\n";

    fn exclusion(low: u16, high: u16, administered: bool) -> Exclusion {
        Exclusion { low, high, administered }
    }

    #[test]
    fn exclusions_in_any_language() {
        let expected =
            vec![exclusion(80, 80, false), exclusion(49_671, 49_770, false), exclusion(50_000, 50_059, true)];
        assert_eq!(exclusions(EXCLUDED.as_bytes()), Some(expected.clone()));
        let german = EXCLUDED
            .replace("Protocol tcp Port Exclusion Ranges", "Protokoll tcp Portausschlussbereiche")
            .replace("Start Port    End Port", "Startport     Endport")
            .replace("Administered port exclusions", "Verwaltete Portausschlüsse");
        assert_eq!(exclusions(german.as_bytes()), Some(expected.clone()));
        let japanese = [
            b"\x83|\x81[\x83g\x8f\x9c\x8aO\r\n\x8aJ\x8en\x83|\x81[\x83g    \x8fI\x97\xb9\x83|\x81[\x83g\r\n",
            &EXCLUDED.as_bytes()[EXCLUDED.find("---").unwrap()..],
        ]
        .concat();
        assert_eq!(exclusions(&japanese), Some(expected));
    }

    #[test]
    fn no_exclusions_and_no_table() {
        let none = "Start Port    End Port\n----------    --------\n\n* - Administered port exclusions.\n";
        assert_eq!(exclusions(none.as_bytes()), Some(Vec::new()));
        assert_eq!(exclusions(b""), None);
        assert_eq!(exclusions(b"The parameter is incorrect.\r\n"), None);
        assert_eq!(exclusions(b"---- ----\n 5 4\n"), None, "an end before its start");
        for odd in ["1 2 3", "70000 70001", "8 9 x", "8"] {
            assert_eq!(exclusions(format!("---- ----\n 1 2\n {odd}\n").as_bytes()), None, "{odd}");
        }
    }
}

//! Advice on the port pools from the settings of Windows.
//!
//! Sources: the commands for the range and its minimum, Microsoft's KB 929851; auto-reuse ranges, the help
//! of `Set-NetTCPSetting`; `TcpTimedWaitDelay` with its 30 to 300 s, Microsoft's registry reference for
//! Windows Server 2003, the last one that documents it.

use super::inventory::exclusions::{Exclusion, excluded_ports};
use super::inventory::ranges::Ranges;
use super::model::{DEFAULT_RANGE, pool};
use crate::event::{Advice, PortRange, Protocol};

/// The limits of `TcpTimedWaitDelay`, in seconds.
const TIME_WAIT_S: (u32, u32) = (30, 300);
/// A range that leaves room for the usual servers below it.
const WIDER: &str = "start=10000 num=55536";
/// The share of a range that may be excluded without advice: one in this many ports.
const EXCLUDED_SHARE: u32 = 10;

/// The settings that matter for the pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The port ranges and their exclusions.
    pub ranges: Ranges,
    /// `TcpTimedWaitDelay` in seconds, if it is set.
    pub time_wait_s: Option<u32>,
    /// `MaxUserPort`, if it is set.
    pub max_user_port: Option<u32>,
}

/// The advice for these settings. A range that could not be read gets none.
#[must_use]
pub fn advise(settings: &Settings) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(range) = settings.ranges.pools.get(&pool(Protocol::Tcp)) {
        advice.push(rate(range, settings.time_wait_s));
        advice.extend(shorter_wait(settings.time_wait_s));
        advice.extend(wider(range));
        advice.push(sharing());
        advice.extend(old_limit(range, settings.max_user_port));
    }
    advice.extend(
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .filter_map(|protocol| excluded(protocol, &settings.ranges)),
    );
    advice
}

/// The rate of connections that the range allows.
fn rate(range: &PortRange, time_wait_s: Option<u32>) -> Advice {
    let ports = range.usable();
    let (rate, time) = match time_wait_s {
        Some(seconds) => ((ports / seconds.max(1)).to_string(), format!("{seconds} s")),
        None => {
            let (least, most) = TIME_WAIT_S;
            let time = format!("between {least} and {most} s, as this Windows has it");
            (format!("{} to {}", ports / most, ports / least), time)
        }
    };
    Advice {
        says: format!(
            "{ports} ports carry {rate} connections a second if this side closes them: TIME_WAIT keeps each \
             port for {time}"
        ),
        remedy: "reuse connections (keep-alive, a connection pool)".to_owned(),
    }
}

/// Without the setting there is no advice: the default of Windows could not be verified.
fn shorter_wait(time_wait_s: Option<u32>) -> Option<Advice> {
    let seconds = time_wait_s.filter(|&seconds| seconds > TIME_WAIT_S.0)?;
    Some(Advice {
        says: format!("TcpTimedWaitDelay is set to {seconds} s; {} s are enough, as a rule", TIME_WAIT_S.0),
        remedy: format!(
            r"reg add HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters /v TcpTimedWaitDelay /t REG_DWORD /d {} /f, then restart Windows",
            TIME_WAIT_S.0
        ),
    })
}

fn wider(range: &PortRange) -> Option<Advice> {
    (range.usable() <= DEFAULT_RANGE.usable()).then(|| Advice {
        says: format!("the range {}-{} can be wider", range.low, range.high),
        remedy: format!(
            "netsh int ipv4 set dynamicport tcp {WIDER}, and the same with ipv6; before, keep the ports of own \
             servers out of it: netsh int ipv4 add excludedportrange protocol=tcp startport=PORT numberofports=1"
        ),
    })
}

/// Whether it is set already is not checked: no documented interface reports it quickly.
fn sharing() -> Advice {
    Advice {
        says: "connections to different destinations can share a port, but only inside an auto-reuse range, \
               and there is none by default (since Windows 10 and Server 2016)"
            .to_owned(),
        remedy: "see Get-NetTCPSetting | select SettingName, AutoReuse*; set it with Set-NetTCPSetting \
                 -AutoReusePortRangeStartPort 10000 -AutoReusePortRangeNumberOfPorts 55536; a program that \
                 binds before it connects needs SO_REUSE_UNICASTPORT besides"
            .to_owned(),
    }
}

fn old_limit(range: &PortRange, max_user_port: Option<u32>) -> Option<Advice> {
    let port = max_user_port?;
    Some(Advice {
        says: format!(
            "MaxUserPort is set to {port}, a setting of Windows before Vista; the range is {}-{}",
            range.low, range.high
        ),
        remedy: "delete MaxUserPort, restart Windows, and set the range with netsh int ipv4 set dynamicport"
            .to_owned(),
    })
}

/// Exclusions that take a large part of the range.
fn excluded(protocol: Protocol, ranges: &Ranges) -> Option<Advice> {
    let range = ranges.pools.get(&pool(protocol))?;
    let size = u32::from(range.high) + 1 - u32::from(range.low);
    if range.reserved < size / EXCLUDED_SHARE {
        return None;
    }
    let all = ranges.exclusions.get(&pool(protocol)).map(Vec::as_slice).unwrap_or_default();
    let administered: Vec<Exclusion> = all.iter().filter(|it| it.administered).copied().collect();
    let own = excluded_ports(range.low, range.high, &administered);
    let list = format!("netsh int ipv4 show excludedportrange protocol={protocol}");
    let services = range.reserved.saturating_sub(own);
    let remedy = if services >= own {
        "net stop winnat and net start winnat release what Hyper-V and containers no longer need"
    } else {
        "netsh int ipv4 delete excludedportrange removes what an administrator has excluded"
    };
    Some(Advice {
        says: format!(
            "{} of the {size} {protocol} ports of the range are excluded from it: {services} by services, \
             {own} by an administrator",
            range.reserved
        ),
        remedy: format!("list them with {list}; {remedy}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::windows::inventory::exclusions::pool_range;

    fn settings(low: u16, high: u16, exclusions: &[(u16, u16, bool)]) -> Settings {
        let exclusion = |&(low, high, administered)| Exclusion { low, high, administered };
        let exclusions: Vec<_> = exclusions.iter().map(exclusion).collect();
        let tcp = pool(Protocol::Tcp);
        let mut ranges = Ranges::default();
        ranges.pools.insert(tcp, pool_range(low, high, &exclusions));
        ranges.exclusions.insert(tcp, exclusions);
        Settings { ranges, ..Settings::default() }
    }

    fn said(settings: &Settings) -> Vec<String> {
        advise(settings).into_iter().map(|advice| advice.says).collect()
    }

    #[test]
    fn the_usual_settings_have_room_for_more() {
        let said = said(&settings(49_152, 65_535, &[(80, 80, false)]));
        let rate = "16384 ports carry 54 to 546 connections a second if this side closes them: TIME_WAIT keeps \
                    each port for between 30 and 300 s, as this Windows has it";
        assert_eq!(said[0], rate);
        assert_eq!(said[1], "the range 49152-65535 can be wider");
        assert!(said[2].starts_with("connections to different destinations can share"), "{said:?}");
        assert_eq!(said.len(), 3);
    }

    #[test]
    fn a_delay_that_is_set_is_reckoned_with() {
        let long = Settings { time_wait_s: Some(120), ..settings(10_000, 65_535, &[]) };
        let said_of_long = said(&long);
        assert!(said_of_long[0].starts_with("55536 ports carry 462 connections"), "{said_of_long:?}");
        assert!(said_of_long[1].starts_with("TcpTimedWaitDelay is set to 120 s"), "{said_of_long:?}");
        let short = Settings { time_wait_s: Some(30), ..long };
        assert_eq!(said(&short).len(), 2, "as short as it can be, and as wide");
    }

    #[test]
    fn exclusions_that_eat_the_range_are_told_by_whose_they_are() {
        let few = settings(49_152, 65_535, &[(50_000, 50_059, true)]);
        assert!(!said(&few).iter().any(|it| it.contains("excluded")));
        let services = settings(49_152, 65_535, &[(50_000, 50_059, true), (50_060, 52_000, false)]);
        let advice = advise(&services).pop().unwrap();
        let says = "2001 of the 16384 tcp ports of the range are excluded from it: 1941 by services, 60 by an \
                    administrator";
        assert_eq!(advice.says, says);
        assert!(advice.remedy.contains("net stop winnat"), "{}", advice.remedy);
        let own = advise(&settings(49_152, 65_535, &[(50_000, 52_000, true)])).pop().unwrap();
        assert!(own.remedy.contains("delete excludedportrange"), "{}", own.remedy);
    }

    #[test]
    fn a_setting_of_old_is_told() {
        let settings = Settings { max_user_port: Some(5_000), ..settings(49_152, 65_535, &[]) };
        let told = said(&settings).pop();
        assert_eq!(
            told.as_deref(),
            Some("MaxUserPort is set to 5000, a setting of Windows before Vista; the range is 49152-65535")
        );
    }

    #[test]
    fn of_a_range_that_is_not_known_nothing_is_said() {
        let settings = Settings { time_wait_s: Some(120), max_user_port: Some(1), ..Settings::default() };
        assert_eq!(advise(&settings), []);
    }
}

//! What the settings of our own network namespace mean for its pool, and how to get more out of it.

use crate::event::{Advice, PortRange};
use crate::source::linux::kernel::netns;
use std::fs;

const TW_REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";
/// How long a TIME_WAIT keeps its port: `TCP_TIMEWAIT_LEN` (include/net/tcp.h), no setting.
const TIME_WAIT_S: u32 = 60;
/// As many as the kernel's default range, 32768-60999, has.
const USUAL_PORTS: u32 = 28_232;

/// What can be said of this machine's pool; nothing if its settings cannot be read.
#[must_use]
pub fn advice() -> Vec<Advice> {
    let reuse = fs::read_to_string(TW_REUSE).ok().and_then(|text| text.trim().parse().ok());
    netns::port_range().map_or_else(|_| Vec::new(), |range| advise(&range, reuse))
}

/// `reuse` is `net.ipv4.tcp_tw_reuse`: 0 never, 1 for every destination, 2 on loopback (default).
fn advise(range: &PortRange, reuse: Option<u8>) -> Vec<Advice> {
    let ports = range.usable();
    let mut advice = vec![Advice {
        says: format!(
            "{ports} ports carry {} connections a second to one destination if this side closes them: \
             TIME_WAIT keeps each port for {TIME_WAIT_S} s",
            ports / TIME_WAIT_S
        ),
        remedy: "reuse connections (keep-alive, a connection pool)".to_owned(),
    }];
    if reuse.is_some_and(|reuse| reuse != 1) {
        advice.push(Advice {
            says: "a port in TIME_WAIT is not used again for another host before it ends".to_owned(),
            remedy: "sysctl net.ipv4.tcp_tw_reuse=1 lets connect() take it after 1 s (needs TCP timestamps \
                     on both sides)"
                .to_owned(),
        });
    }
    if ports <= USUAL_PORTS {
        advice.push(Advice {
            says: format!("the range {}-{} could be wider", range.low, range.high),
            remedy: "sysctl net.ipv4.ip_local_port_range=\"10000 65535\", with the ports of own servers in \
                     net.ipv4.ip_local_reserved_ports"
                .to_owned(),
        });
    }
    // net/ipv4/sysctl_net_ipv4.c warns of the same.
    if range.low % 2 == range.high % 2 {
        advice.push(Advice {
            says: "both ends of the range are odd, or even: connect() and bind() share its halves unevenly"
                .to_owned(),
            remedy: "make one end of net.ipv4.ip_local_port_range even and the other odd".to_owned(),
        });
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(low: u16, high: u16, reserved: u32, reuse: u8) -> Vec<String> {
        let advice = advise(&PortRange { low, high, reserved }, Some(reuse));
        advice.into_iter().map(|advice| advice.says).collect()
    }

    #[test]
    fn the_usual_settings_have_room_for_more() {
        let said = said(32_768, 60_999, 0, 2);
        assert!(said[0].starts_with("28232 ports carry 470 connections a second"), "{said:?}");
        assert!(said[1].starts_with("a port in TIME_WAIT"), "{said:?}");
        assert_eq!(said[2..], ["the range 32768-60999 could be wider"]);
    }

    #[test]
    fn a_machine_that_is_tuned_hears_only_what_it_can_do() {
        let said = said(10_000, 65_535, 100, 1);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("55436 ports carry 923 "), "{said:?}");
    }

    #[test]
    fn ends_of_one_parity_are_told() {
        assert!(said(10_000, 65_534, 0, 1)[1].starts_with("both ends"));
    }
}

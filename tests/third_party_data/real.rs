//! A real trace against Microsoft's decode of it: `net.4.5.2.x64.etl` of PerfView's tests.

use crate::data::{self, Outcome};
use portleak::event::Protocol;
use portleak::source::windows::decoded_event::{self, DecodedEvent, Traffic, TrafficKind};
use portleak::source::windows::etl::Reader;
use portleak_tests::etl::story::replay;
use std::collections::BTreeMap;
use std::io::Cursor;

/// What the baseline's names are for us; how many there are, and those of whom it tells all.
#[derive(Debug, Default)]
struct Baseline {
    counts: BTreeMap<String, u64>,
    told: BTreeMap<String, Vec<Told>>,
}

#[derive(Debug)]
struct Told {
    at_ms: f64,
    line: String,
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {line}"));
    rest.split(';').next().expect("split gives one")
}

fn number<T: std::str::FromStr>(line: &str, name: &str) -> T {
    let digits = field(line, name).replace(',', "");
    digits.parse().unwrap_or_else(|_| panic!("{name} is no number in {line}"))
}

impl Baseline {
    fn read(text: &str) -> Self {
        let mut baseline = Self::default();
        let lines = text.lines().filter(|line| line.contains("TcpIp/") || line.contains("UdpIp/"));
        for line in lines {
            let name = |text: &str| {
                let (_, name) = text.split_once("Kernel/").expect("of the kernel");
                name.split([' ', ':']).next().expect("split gives one").to_owned()
            };
            if let Some(rest) = line.strip_prefix("COUNT ") {
                let (_, count) = rest.rsplit_once(':').expect("a count");
                baseline.counts.insert(name(rest), count.parse().expect("a number"));
            } else if let Some(rest) = line.strip_prefix("EVENT ") {
                let (at, _) = rest.split_once(':').expect("a time");
                let at_ms = at.replace(',', "").parse().expect("milliseconds");
                baseline.told.entry(name(rest)).or_default().push(Told { at_ms, line: line.to_owned() });
            }
        }
        baseline
    }
}

/// The baseline's name for a record.
fn name(traffic: &Traffic) -> String {
    let group = if traffic.protocol == Protocol::Tcp { "TcpIp" } else { "UdpIp" };
    let kind = match traffic.kind {
        TrafficKind::Connected => "Connect",
        TrafficKind::Accepted => "Accept",
        TrafficKind::Disconnected => "Disconnect",
        TrafficKind::Sent => "Send",
        TrafficKind::Received => "Recv",
    };
    let v6 = if traffic.local.is_ipv6() { "IPV6" } else { "" };
    format!("{group}/{kind}{v6}")
}

/// `sport`, `dport` and addresses as the baseline has them: of the datagram, not of this side.
fn agrees(told: &Told, at_ms: f64, traffic: &Traffic) {
    let line = &told.line;
    let inward = traffic.protocol == Protocol::Udp && traffic.kind == TrafficKind::Received;
    let (from, to) = if inward { (traffic.remote, traffic.local) } else { (traffic.local, traffic.remote) };
    assert!((told.at_ms - at_ms).abs() < 0.001, "{line}\n{at_ms}");
    assert_eq!(number::<u32>(line, "PID"), traffic.pid, "{line}");
    assert_eq!(number::<u16>(line, "sport"), from.port(), "{line}");
    assert_eq!(number::<u16>(line, "dport"), to.port(), "{line}");
    if line.contains(" saddr=") {
        for (name, address) in [("saddr", from.ip()), ("daddr", to.ip())] {
            let shown = field(line, name).trim_end_matches('.');
            assert!(address.to_string().starts_with(shown), "{name} is {address}: {line}");
        }
    }
}

/// The kernel's SMB client holds ports of the pool, and each svchost has its services' names.
pub(crate) fn system_holds_its_ports_in_a_real_trace() -> Outcome {
    data::with("etl/net.4.5.2.x64.etl.zip", |zip| {
        let outcome = replay(data::unzip(zip, "net.4.5.2.x64.etl"));
        assert_eq!(outcome.system(), [(None, 4)], "64,022 to 64,025, to port 445");
        assert_eq!(outcome.capture.kernel, "6.2.9200");
        let told = outcome.capture.degraded.iter().find(|degraded| degraded.feature == "ports");
        assert!(told.expect("traffic alone is not enough").remedy.contains("netsh trace start"));
    })
}

pub(crate) fn traffic_of_x64_is_as_microsoft_counts_and_prints_it() -> Outcome {
    is_as_told("net.4.5.2.x64")
}

pub(crate) fn traffic_of_x86_is_as_microsoft_counts_and_prints_it() -> Outcome {
    is_as_told("net.4.5.2.x86")
}

fn is_as_told(trace: &str) -> Outcome {
    data::with(&format!("etl/{trace}.etl.zip"), |zip| {
        let baseline = zip.with_file_name(format!("{trace}.baseline.txt"));
        compare(&data::unzip(zip, &format!("{trace}.etl")), &data::text(&baseline));
    })
}

fn compare(etl: &[u8], baseline: &str) {
    let baseline = Baseline::read(baseline);
    let mut surveyed = 0;
    let mut reader = Reader::open(Cursor::new(etl), |_, _, _| surveyed += 1).expect("a trace");
    let start_ns = reader.header().start_ns();
    let mut found: BTreeMap<String, Vec<(f64, Traffic)>> = BTreeMap::new();
    let (mut read, mut before_ns) = (0, 0);
    while reader
        .read(1000, |_, at_ns, record| {
            assert!(at_ns >= before_ns, "in order of time");
            (read, before_ns) = (read + 1, at_ns);
            if let Some(Ok(DecodedEvent::Traffic(traffic))) = decoded_event::decode(record) {
                let at_ms = (at_ns - start_ns) as f64 / 1e6;
                found.entry(name(&traffic)).or_default().push((at_ms, traffic));
            }
        })
        .expect("a whole trace")
    {}
    assert_eq!(read, surveyed, "both readings see the same records");
    let integrity = reader.integrity();
    assert_eq!((integrity.damaged_buffers, integrity.misdated_records), (0, 0));
    let counts: BTreeMap<_, _> =
        found.iter().map(|(name, found)| (name.clone(), found.len() as u64)).collect();
    // Retransmissions and copies are of no use for ports.
    let unused =
        |name: &str| ["Retransmit", "TCPCopy", "Reconnect", "Fail"].iter().any(|kind| name.contains(kind));
    let mut expected = baseline.counts;
    expected.retain(|name, _| !unused(name));
    assert_eq!(counts, expected);
    let mut compared = 0;
    for (name, told) in &baseline.told {
        let Some(found) = found.get(name) else {
            continue;
        };
        for (told, (at_ms, traffic)) in told.iter().zip(found) {
            agrees(told, *at_ms, traffic);
            compared += 1;
        }
    }
    assert!(compared >= 26, "{compared} compared");
    let of_system = found.values().flatten().filter(|(_, traffic)| traffic.pid == 4);
    assert!(
        of_system.clone().any(|(_, traffic)| traffic.local.port() >= 49_152),
        "System on ephemeral ports"
    );
}

//! A trace that goes on for a year: services start and stop while it lasts.

use portleak::event::EventKind;
use portleak::source::windows::decoded_event::Service;
use portleak::source::windows::etl::Reader;
use portleak::source::windows::model::{Background, Model};
use portleak_tests::etl::encode::Release;
use portleak_tests::etl::machine::Machine;
use std::io::Cursor;

fn service(pid: u32, name: &str) -> Service {
    Service { pid, name: name.to_owned() }
}

#[test]
fn services_that_start_and_stop_are_named() {
    let mut machine = Machine::new(Release::Win11V23H2);
    machine.process(100, "svchost.exe");
    machine.bound(100);
    let mut reader = Reader::open(Cursor::new(machine.end()), |_, _, _| {}).expect("a trace");
    let services = vec![service(100, "Dhcp"), service(0, "Stopped")];
    let background = Background { has_tcpip: true, services, ..Background::default() };
    let mut model = Model::new(reader.header(), &background);
    let mut events = Vec::new();
    reader
        .read(usize::MAX, |header, at_ns, record| model.apply(header, at_ns, record, &mut events))
        .expect("a whole trace");
    let mut named = |services: &[Service]| {
        events.clear();
        model.set_services(1, services, &mut events);
        let name = |event: &_| match &event {
            portleak::event::Event { kind: EventKind::Process { facts, .. }, .. } => {
                Some(facts.service.as_deref().map(str::to_owned))
            }
            _ => None,
        };
        events.iter().find_map(name)
    };
    assert_eq!(named(&[service(100, "Dhcp")]), None, "as before");
    let both = [service(100, "Dhcp"), service(100, "Dnscache"), service(200, "Other")];
    assert_eq!(named(&both), Some(Some("Dhcp, Dnscache".to_owned())));
    assert_eq!(named(&both[1..]), Some(Some("Dnscache".to_owned())));
    assert_eq!(named(&[]), Some(None));
}

use super::*;
use clap::error::ErrorKind;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::from_args(line.split_whitespace()).map(|cli| cli.command)
}

fn refused(line: &str) -> String {
    let error = parse(line).unwrap_err();
    assert_eq!(error.exit_code(), i32::from(crate::exit::USAGE), "{line}");
    error.to_string()
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn run_takes_everything_after_the_dashes() {
    let Ok(Command::Run(run)) = parse("portleak run -q -- prog --pid x -- y") else {
        panic!("not run");
    };
    assert_eq!(run.command, ["prog", "--pid", "x", "--", "y"]);
    assert!(run.output.quiet);
    assert_eq!(run.linger, Duration::ZERO);
    assert_eq!(run.capture.buffer, 4 << 20);
}

#[test]
fn run_without_dashes_shows_the_right_form() {
    for line in ["portleak run", "portleak run foo", "portleak run --"] {
        let message = refused(line);
        assert!(message.contains("portleak run [OPTIONS] -- CMD [ARG]..."), "{line}: {message}");
        assert!(message.contains("after the dashes"), "{line}: {message}");
    }
    assert!(refused("portleak run foo -x").contains("portleak run -- foo"));
    assert!(!refused("portleak run --bogus").contains("after the dashes"));
}

#[test]
fn capture_becomes_a_scope() {
    let line = "portleak trace --pid 4711 --pid 4712 --comm nginx --proto udp --profile production";
    let Ok(Command::Trace(trace)) = parse(line) else {
        panic!("not trace");
    };
    let scope = trace.capture.filter.scope();
    assert_eq!(scope.pids, [4711, 4712]);
    assert_eq!(scope.comm.as_deref(), Some("nginx"));
    assert_eq!(scope.protocol, Some(Protocol::Udp));
    assert_eq!(trace.capture.profile.profile(), Profile::Production);
    assert_eq!(trace.capture.filter.netns, NetnsArg::All);
}

#[test]
fn places_are_filters() {
    let Ok(Command::Run(run)) = parse("portleak run --netns self --cgroup /a.slice -- true") else {
        panic!("not run");
    };
    assert_eq!(run.capture.filter.netns, NetnsArg::Own);
    assert_eq!(run.capture.filter.cgroup.as_deref(), Some("/a.slice"));
}

#[test]
fn bad_values_are_named_with_good_ones_beside_them() {
    let message = refused("portleak trace --duration banana");
    assert!(message.contains("banana") && message.contains("30s"), "{message}");
    let message = refused("portleak trace --buffer huge");
    assert!(message.contains("huge") && message.contains("4M"), "{message}");
    let message = refused("portleak trace --proto sctp");
    assert!(message.contains("sctp") && message.contains("tcp|udp"), "{message}");
    assert!(refused("portleak trace --pid banana").contains("banana"));
    let message = refused("portleak trace --netns blue");
    assert!(message.contains("blue") && message.contains("self, all"), "{message}");
    assert!(refused("portleak trace --pid -1").contains("-1"));
    assert!(refused("portleak trace -q -v").contains("--verbose"));
}

#[test]
fn a_snapshot_takes_filters_and_nothing_of_tracing() {
    let Ok(Command::Snapshot(snapshot)) = parse("portleak snapshot --netns 7 --proto tcp --format json")
    else {
        panic!("not snapshot");
    };
    assert_eq!(snapshot.filter.netns, NetnsArg::Inode(7));
    assert_eq!(snapshot.filter.scope().protocol, Some(Protocol::Tcp));
    assert_eq!(snapshot.output.format, Format::Json);
    assert!(refused("portleak snapshot --duration 3s").contains("--duration"));
}

#[test]
fn doctor_and_help() {
    assert!(matches!(
        parse("portleak doctor --format json"),
        Ok(Command::Doctor(Doctor { format: Format::Json, .. }))
    ));
    let help = parse("portleak run --help").unwrap_err();
    assert_eq!(help.kind(), ErrorKind::DisplayHelp);
    assert_eq!(help.exit_code(), 0);
    assert!(refused("portleak").contains("portleak run -- ./repro.sh"));
}

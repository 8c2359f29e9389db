//! The commands that need more than one process: who serves, and who is the client.

use super::exact;
use super::moves::Way;
use super::runner::{self, Member};
use super::server::{Manner, PORT_V4, PORT_V6};
use super::tally::print_line;
use anyhow::{Context, Result, ensure};
use portleak_tests::limits;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How many loopback addresses the held connections are spread over, to have ports enough.
const SPREAD: u8 = 8;

/// Counts that must come out exact.
pub(super) fn exact(processes: u32, plan: &exact::Plan) -> Result<()> {
    let client = client("exact", plan.arguments());
    let clients = vec![client; processes as usize];
    let listen = [format!("0.0.0.0:{PORT_V4}"), format!("[::1]:{PORT_V6}")];
    runner::perform(&[server(Manner::Echo, &listen)], &clients)
}

/// The server resets.
pub(super) fn reset(connections: u32) -> Result<()> {
    one_client(Manner::Reset, "reset", connections)
}

/// The client closes first.
pub(super) fn time_wait(connections: u32) -> Result<()> {
    one_client(Manner::Echo, "time-wait", connections)
}

/// The server closes, the client does not.
pub(super) fn close_wait(connections: u32) -> Result<()> {
    one_client(Manner::Close, "close-wait", connections)
}

/// More attempts than there are ports.
pub(super) fn exhaust(attempts: u32) -> Result<()> {
    one_client(Manner::Echo, "exhaust", attempts)
}

/// Connections that stay: one server process for each client process.
pub(super) fn hold(connections: u32, processes: u16) -> Result<()> {
    let ports = (0..processes).map(|i| PORT_V4 + i);
    let servers = ports.clone().map(|port| server(Manner::Echo, &any(port)));
    let clients = ports.map(|port| hold_open(&format!("127.0.0.1:{port}"), connections, "wait"));
    runner::perform(&servers.collect::<Vec<_>>(), &clients.collect::<Vec<_>>())
}

/// A server on a port that the system chose.
pub(super) fn accept(connections: u32) -> Result<()> {
    let mut server = Member::start(&server(Manner::Echo, &any(0)))?;
    let report = server.report()?;
    print_line(&report)?;
    let to = format!("127.0.0.1:{}", listening_port(&report)?);
    let clients = runner::start_all(&[hold_open(&to, connections, "wait")])?;
    limits::wait_for_observer()?;
    runner::dismiss_all(clients)?;
    server.dismiss()
}

/// From the report of a server.
fn listening_port(report: &str) -> Result<u16> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    let address = report["listening"][0].as_str();
    let address = address.context("the server did not say where it listens")?;
    Ok(address.parse::<SocketAddr>()?.port())
}

/// A client that ends with its connections open; tells of it once it has ended.
pub(super) fn exit_holding(connections: u32) -> Result<()> {
    let servers = runner::start_all(&[server(Manner::Echo, &any(PORT_V4))])?;
    let to = format!("127.0.0.1:{PORT_V4}");
    let mut client = Member::start(&hold_open(&to, connections, "exit"))?;
    let report = client.report()?;
    client.dismiss()?;
    // Until the server's FIN is there the kernel keeps the ports; on one CPU that may take a while.
    runner::dismiss_all(servers)?;
    print_line(&report)?;
    limits::wait_for_observer()
}

/// A client that becomes another program; tells of it once it has.
pub(super) fn exec(connections: u32) -> Result<()> {
    let servers = runner::start_all(&[server(Manner::Echo, &any(PORT_V4))])?;
    let to = format!("127.0.0.1:{PORT_V4}");
    let mut client = Member::start(&hold_open(&to, connections, "exec"))?;
    let report = client.report()?;
    wait_for_name(client.pid(), "cat")?;
    print_line(&report)?;
    limits::wait_for_observer()?;
    client.dismiss()?;
    runner::dismiss_all(servers)
}

/// The client's connections go to another process, or to none.
pub(super) fn give_away(way: Way, connections: u32) -> Result<()> {
    let connections = ["--connections".to_owned(), connections.to_string()];
    let arguments = std::iter::once(way.name().to_owned()).chain(connections);
    runner::perform(&[server(Manner::Echo, &any(PORT_V4))], &[client("move", arguments)])
}

/// The usual cast: one server, one client that is told how many connections to make.
fn one_client(manner: Manner, role: &str, connections: u32) -> Result<()> {
    let connections = ["--connections".to_owned(), connections.to_string()];
    runner::perform(&[server(manner, &any(PORT_V4))], &[client(role, connections)])
}

fn any(port: u16) -> [String; 1] {
    [format!("0.0.0.0:{port}")]
}

fn server(manner: Manner, listen: &[String]) -> Vec<String> {
    let role = ["serve", "--manner", manner.name()].map(str::to_owned);
    role.into_iter().chain(listen.iter().cloned()).collect()
}

fn client(role: &str, arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let role = ["client", role].map(str::to_owned).into_iter();
    role.chain(arguments).collect()
}

fn hold_open(to: &str, connections: u32, then: &str) -> Vec<String> {
    let (connections, spread) = (connections.to_string(), SPREAD.to_string());
    let arguments = ["--to", to, "--connections", &connections];
    let arguments = arguments.into_iter().chain(["--spread", &spread, "--then", then]);
    client("hold", arguments.map(str::to_owned))
}

/// Waits until the process has become `name`.
fn wait_for_name(pid: u32, name: &str) -> Result<()> {
    let patience_ends = Instant::now() + Duration::from_secs(10);
    loop {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        if comm.trim_end() == name {
            return Ok(());
        }
        ensure!(Instant::now() < patience_ends, "process {pid} is no {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

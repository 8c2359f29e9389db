//! A program that leaks ephemeral ports, to see what `portleak` says about it:
//!
//! ```text
//! portleak run -- target/release/examples/leak [SECONDS] [PER_SECOND]
//! ```
//!
//! The bug is one line: `fetch_and_forget` keeps every connection it made, so none is ever closed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, not the library")]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = number(arguments.next(), 60)?;
    let per_second = number(arguments.next(), 20)?.max(1);
    allow_many_files();

    let server = start_server()?;
    let mut forgotten = Vec::new();
    let start = Instant::now();
    for i in 0..seconds * per_second {
        wait_until(start + Duration::from_secs(i.into()) / per_second);
        if let Err(error) = fetch_and_forget(server, &mut forgotten) {
            eprintln!("leak: {error}");
            break;
        }
    }
    println!("leak: holding {} connections", forgotten.len());
    std::process::exit(0) // Nothing is closed on the way out either.
}

/// Opens a connection and forgets to close it.
fn fetch_and_forget(server: SocketAddr, forgotten: &mut Vec<TcpStream>) -> io::Result<()> {
    let connection = TcpStream::connect(server)?;
    // … a request would be here …
    forgotten.push(connection); // the bug
    Ok(())
}

/// A server that keeps its connections open for as long as the client wants.
fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    Ok(address)
}

/// Sleeps for what is left until `due`, if anything.
fn wait_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// A number from the command line, or the default.
fn number(argument: Option<String>, default: u32) -> io::Result<u32> {
    argument.map_or(Ok(default), |text| text.parse().map_err(io::Error::other))
}

/// Both ends of every connection live in this program: two descriptors each, and the usual limit
/// is 1,024. Raising it is no part of the leak.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Refused, the program leaks until the usual limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(unix))]
fn allow_many_files() {}

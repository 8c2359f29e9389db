//! The server that a program talks to: it speaks as much HTTP as is needed, in threads of the same
//! process.

use anyhow::{Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Of its threads: there is one for each connection.
const STACK_BYTES: usize = 64 << 10;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What happens after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The connection stays until the client closes.
    Keep,
    /// The server closes first.
    Close,
}

/// A server on this port of all loopback addresses.
pub(crate) fn start(port: u16, then: Then) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let serve = move || serve(connection, then);
            // A connection without a thread is closed: the client sees it.
            let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(serve);
        }
    });
    Ok(([127, 0, 0, 1], port).into())
}

fn serve(mut connection: TcpStream, then: Then) {
    let mut request = [0; 4096];
    let mut length = 0;
    while let Ok(read @ 1..) = connection.read(&mut request[length..]) {
        length += read;
        if request[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            if connection.write_all(RESPONSE).is_err() || then == Then::Close {
                return;
            }
        }
    }
}

/// A server that answers every datagram.
pub(crate) fn start_udp(port: u16) -> Result<SocketAddr> {
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&question[..length], from);
        }
    });
    Ok(address)
}

/// Asks once, on a connection that is there.
pub(crate) fn ask(connection: &mut TcpStream) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut response = [0; RESPONSE.len()];
    connection.read_exact(&mut response)?;
    ensure!(response == RESPONSE, "another response");
    Ok(())
}

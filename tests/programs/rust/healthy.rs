//! Programs without a bug, of which it looks as if they had one.

use crate::pace::Pace;
use crate::server::{self, Then, ask};
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(server)?;
    ask(&mut connection)?;
    Ok(connection)
}

/// Opens a hundred connections in twenty seconds, and uses them from then on.
pub(crate) fn warm_up(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut pool: Vec<TcpStream> = Vec::new();
    pace.each(25.0, |i| {
        if pool.len() < 100 && i.is_multiple_of(5) {
            pool.push(connect(server)?);
        }
        let turn = usize::try_from(i)? % pool.len();
        ask(&mut pool[turn])
    })
}

/// Eighty at once every ten seconds, for three seconds.
pub(crate) fn burst(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    pace.each(0.1, |_| {
        let all: Vec<_> = (0..80).map(|_| connect(server)).collect::<Result<_>>()?;
        thread::sleep(Duration::from_secs(3));
        drop(all);
        Ok(())
    })
}

/// A connection for each request, closed at once: TIME_WAIT.
pub(crate) fn churn(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    pace.each(60.0, |_| connect(server).map(drop))
}

/// A few connections, always the same.
pub(crate) fn keepalive(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut pool: Vec<_> = (0..20).map(|_| connect(server)).collect::<Result<_>>()?;
    pace.each(40.0, |i| ask(&mut pool[usize::try_from(i)? % 20]))
}

/// Sixty long conversations; every two seconds one ends and another begins.
pub(crate) fn websocket(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut sessions: Vec<_> = (0..60).map(|_| connect(server)).collect::<Result<_>>()?;
    pace.each(12.0, |i| {
        let turn = usize::try_from(i)? % 60;
        if i.is_multiple_of(24) {
            sessions[turn] = connect(server)?;
        }
        ask(&mut sessions[turn])
    })
}

/// A socket for each question, as resolvers do.
pub(crate) fn dns(pace: &Pace) -> Result<()> {
    let server = server::start_udp(5353)?;
    pace.each(60.0, |_| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.send(b"who is it?")?;
        ensure!(socket.recv(&mut [0; 64])? == 10, "another answer");
        Ok(())
    })
}

/// Four workers with ten connections each, replaced every few seconds.
pub(crate) fn workers(pace: &Pace) -> Result<()> {
    server::start(8080, Then::Keep)?;
    let start = |seconds: u64| -> Result<Child> {
        let mut worker = Command::new(std::env::current_exe()?);
        worker.args(["worker", &seconds.to_string()]).spawn().context("a worker")
    };
    let mut workers: Vec<Child> = (4..8).map(start).collect::<Result<_>>()?;
    while !pace.is_over() {
        thread::sleep(Duration::from_millis(200));
        for worker in &mut workers {
            if worker.try_wait()?.is_some() {
                *worker = start(8)?;
            }
        }
    }
    workers.iter_mut().try_for_each(|worker| Ok(worker.kill().and_then(|()| worker.wait().map(drop))?))
}

/// One of them.
pub(crate) fn worker(seconds: u64) -> Result<()> {
    let server = ([127, 0, 0, 1], 8080).into();
    let mut pool: Vec<_> = (0..10).map(|_| connect(server)).collect::<Result<_>>()?;
    Pace::new(seconds).each(5.0, |i| ask(&mut pool[usize::try_from(i)? % 10]))
}

/// Its server is down, and it goes on trying.
pub(crate) fn refused(pace: &Pace) -> Result<()> {
    pace.each(20.0, |_| {
        ensure!(TcpStream::connect("127.0.0.1:8081").is_err(), "nobody listens there");
        Ok(())
    })
}

/// The server closes first; the client takes two seconds to notice.
pub(crate) fn slow_close(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Close)?;
    let mut closing: Vec<(u64, TcpStream)> = Vec::new();
    pace.each(10.0, |i| {
        closing.push((i, connect(server)?));
        closing
            .retain_mut(|(since, connection)| i < *since + 20 || !matches!(connection.read(&mut [0]), Ok(0)));
        Ok(())
    })
}

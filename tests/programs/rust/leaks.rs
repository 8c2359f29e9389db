//! Programs with a bug. The line that has it says so.

use crate::pace::Pace;
use crate::server::{self, Then, ask};
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Keeps every connection that it made.
pub(crate) fn fetch_and_forget(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut forgotten = Vec::new();
    pace.each(20.0, |_| fetch(server, &mut forgotten))
}

#[inline(never)]
fn fetch(server: SocketAddr, forgotten: &mut Vec<TcpStream>) -> Result<()> {
    let mut connection = TcpStream::connect(server)?;
    ask(&mut connection)?;
    forgotten.push(connection); // the bug
    Ok(())
}

/// Of forty requests a second one in twenty fails, and its connection is kept to look into later.
pub(crate) fn error_path(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut to_look_into = Vec::new();
    pace.each(40.0, |i| request(server, i, &mut to_look_into))
}

#[inline(never)]
fn request(server: SocketAddr, number: u64, to_look_into: &mut Vec<TcpStream>) -> Result<()> {
    let mut connection = TcpStream::connect(server)?;
    ask(&mut connection)?;
    if check(number).is_err() {
        to_look_into.push(connection); // the bug: nobody does
    }
    Ok(())
}

fn check(number: u64) -> Result<()> {
    if number % 20 == 19 {
        bail!("not what was expected");
    }
    Ok(())
}

/// The server closes when it has answered; the client has its answer and does not.
pub(crate) fn close_wait(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Close)?;
    let mut answered = Vec::new();
    pace.each(10.0, |_| read_answer(server, &mut answered))
}

#[inline(never)]
fn read_answer(server: SocketAddr, answered: &mut Vec<TcpStream>) -> Result<()> {
    let mut connection = TcpStream::connect(server)?;
    ask(&mut connection)?;
    answered.push(connection); // the bug
    Ok(())
}

/// Tries again on a new connection, and does not give up the one before.
pub(crate) fn retry(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut attempts = Vec::new();
    pace.each(8.0, |_| try_three_times(server, &mut attempts))
}

#[inline(never)]
fn try_three_times(server: SocketAddr, attempts: &mut Vec<TcpStream>) -> Result<()> {
    for attempt in 0..3 {
        let mut connection = TcpStream::connect(server)?;
        ask(&mut connection)?;
        if attempt == 2 {
            return Ok(());
        }
        attempts.push(connection); // the bug: it was too slow, and stays
    }
    Ok(())
}

/// A UDP socket for each question, kept.
pub(crate) fn bound_udp(pace: &Pace) -> Result<()> {
    let mut sockets = Vec::new();
    pace.each(20.0, |_| {
        sockets.push(UdpSocket::bind("127.0.0.1:0")?); // the bug
        Ok(())
    })
}

/// A daemon that starts a short-lived child for each job, and keeps the connection it was for.
pub(crate) fn job_per_child(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let mut jobs = Vec::new();
    pace.each(16.0, |_| start_job(server, &mut jobs))
}

#[inline(never)]
fn start_job(server: SocketAddr, jobs: &mut Vec<TcpStream>) -> Result<()> {
    let mut connection = TcpStream::connect(server)?;
    ask(&mut connection)?;
    Command::new("true").status().context("a child")?;
    jobs.push(connection); // the bug
    Ok(())
}

/// Eight threads that work off a queue; one connection of two is not given back.
pub(crate) fn thread_pool(pace: &Pace) -> Result<()> {
    let server = server::start(8080, Then::Keep)?;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (jobs, queue) = mpsc::channel();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..8 {
        let (queue, kept) = (Arc::clone(&queue), Arc::clone(&kept));
        thread::spawn(move || {
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                let _ = work_off(server, job, &kept);
            }
        });
    }
    pace.each(40.0, |job| Ok(jobs.send(job)?))
}

#[inline(never)]
fn work_off(server: SocketAddr, job: u64, kept: &Mutex<Vec<TcpStream>>) -> Result<()> {
    let mut connection = TcpStream::connect(server)?;
    ask(&mut connection)?;
    if job.is_multiple_of(2) {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(connection); // the bug
    }
    Ok(())
}

/// A few a second, where there are few ports: a leak of weeks, in a minute.
pub(crate) fn slow(pace: &Pace) -> Result<()> {
    portleak_tests::netns::set("net/ipv4/ip_local_port_range", "40000 40999")?;
    let server = server::start(8080, Then::Keep)?;
    let mut forgotten = Vec::new();
    pace.each(2.0, |_| fetch(server, &mut forgotten))
}

/// Spread over so many servers that none of them stands out.
pub(crate) fn many_servers(pace: &Pace) -> Result<()> {
    server::start(8080, Then::Keep)?;
    let mut forgotten = Vec::new();
    pace.each(20.0, |i| {
        let octet = u8::try_from(1 + i % 40)?;
        fetch(([127, 0, 1, octet], 8080).into(), &mut forgotten)
    })
}

//! An HTTP client and a connection pool that people use, rightly and wrongly.

use crate::pace::Pace;
use crate::server::{self, Then, ask};
use anyhow::{Result, ensure};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

const URL: &str = "http://127.0.0.1:8080/";

/// One agent, and every response read: its connections are used again.
pub(crate) fn ureq_right(pace: &Pace) -> Result<()> {
    server::start(8080, Then::Keep)?;
    let agent = Agent::new_with_defaults();
    pace.each(30.0, |_| {
        let text = agent.get(URL).call()?.into_body().read_to_string()?;
        ensure!(text == "ok", "another response");
        Ok(())
    })
}

/// Responses whose body is not read keep their connection.
pub(crate) fn ureq_response_kept(pace: &Pace) -> Result<()> {
    server::start(8080, Then::Keep)?;
    let agent = Agent::new_with_defaults();
    let mut responses = Vec::new();
    pace.each(20.0, |_| keep_response(&agent, &mut responses))
}

#[inline(never)]
fn keep_response(agent: &Agent, responses: &mut Vec<Response<Body>>) -> Result<()> {
    responses.push(agent.get(URL).call()?); // the bug
    Ok(())
}

/// An agent for each request, kept: each has a pool of its own with one idle connection.
pub(crate) fn ureq_agent_each(pace: &Pace) -> Result<()> {
    server::start(8080, Then::Keep)?;
    let mut agents = Vec::new();
    pace.each(20.0, |_| new_agent(&mut agents))
}

#[inline(never)]
fn new_agent(agents: &mut Vec<Agent>) -> Result<()> {
    let agent = Agent::new_with_defaults();
    agent.get(URL).call()?.into_body().read_to_string()?;
    agents.push(agent); // the bug
    Ok(())
}

/// How the pool makes and checks its connections.
struct Connections(SocketAddr);

impl r2d2::ManageConnection for Connections {
    type Connection = TcpStream;
    type Error = std::io::Error;

    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.0)
    }

    fn is_valid(&self, _: &mut TcpStream) -> std::io::Result<()> {
        Ok(())
    }

    fn has_broken(&self, _: &mut TcpStream) -> bool {
        false
    }
}

fn pool(size: u32, idle: u32) -> Result<r2d2::Pool<Connections>> {
    let server = server::start(8080, Then::Keep)?;
    Ok(r2d2::Pool::builder().max_size(size).min_idle(Some(idle)).build(Connections(server))?)
}

/// Connections are borrowed and given back.
pub(crate) fn r2d2_right(pace: &Pace) -> Result<()> {
    let pool = pool(20, 5)?;
    pace.each(50.0, |_| ask(&mut *pool.get()?))
}

/// Connections are borrowed and never given back, and the pool makes new ones.
pub(crate) fn r2d2_forgotten(pace: &Pace) -> Result<()> {
    let pool = pool(100_000, 1)?;
    pace.each(20.0, |_| {
        let mut connection = pool.get()?;
        ask(&mut connection)?;
        std::mem::forget(connection); // the bug
        Ok(())
    })
}

/// Far more connections than are needed, all made at the start: wasteful, and no leak.
pub(crate) fn r2d2_too_large(pace: &Pace) -> Result<()> {
    let pool = pool(300, 300)?;
    thread::sleep(Duration::from_secs(1));
    pace.each(10.0, |_| ask(&mut *pool.get()?))
}

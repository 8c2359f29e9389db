//! Random operations on sockets, the same for the same seed, by several processes at once.
//!
//! Between rounds all processes stand still, so that an observer can compare what it believes with
//! what the kernel says.

mod actor;
mod rng;

use super::runner::Member;
use super::server::{self, Manner};
use super::tally::print_line;
use actor::Actor;
use anyhow::Result;
use portleak_tests::limits;
use portleak_tests::netns;
use rng::Rng;
use serde::Serialize;

/// Servers of both families; they listen below the ephemeral range.
const SERVERS: [(u16, Manner); 3] = [(7001, Manner::Echo), (7002, Manner::Close), (7003, Manner::Reset)];

/// What one process did in one round.
#[derive(Serialize)]
struct Round<'a> {
    pid: u32,
    did: &'a [String],
}

/// Conducts: a line of every process each round, then an empty one, then the observer's turn.
pub(super) fn run(seed: u64, rounds: u32, steps: u32, processes: u64) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", &format!("{} {}", actor::LOW, actor::HIGH))?;
    for (port, manner) in SERVERS {
        let addresses = [format!("0.0.0.0:{port}"), format!("[::1]:{port}")];
        let listeners = addresses.iter().map(|address| server::listen(address.parse()?));
        server::in_background(listeners.collect::<Result<_>>()?, manner);
    }
    let members = (0..processes).map(|which| {
        let seed = Rng::new(seed).value_after(which).to_string();
        let role = ["client", "random", "--seed", &seed, "--steps", &steps.to_string()];
        Member::start(&role.map(str::to_owned))
    });
    let mut members = members.collect::<Result<Vec<_>>>()?;
    for _ in 0..rounds {
        members.iter_mut().try_for_each(Member::proceed)?;
        for member in &mut members {
            print_line(&member.report()?)?;
        }
        print_line("")?;
        if !limits::observer_wants_more()? {
            break;
        }
    }
    members.into_iter().try_for_each(Member::dismiss)
}

/// One process: some steps for each line that comes.
pub(super) fn play(seed: u64, steps: u32) -> Result<()> {
    let mut actor = Actor::new(Rng::new(seed));
    while limits::observer_wants_more()? {
        let did: Vec<_> = (0..steps).map(|_| actor.step()).collect();
        let round = Round { pid: std::process::id(), did: &did };
        print_line(&serde_json::to_string(&round)?)?;
    }
    Ok(())
}

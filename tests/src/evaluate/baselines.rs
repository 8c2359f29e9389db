//! What people do today: four pollers that look at the levels once a minute.

use super::play::{Levels, USABLE};
use std::collections::VecDeque;

/// How often they look, in seconds.
const EVERY: u32 = 60;
/// Looks that a straight line is laid through.
const LINE: usize = 15;
/// It must meet the limit within so many seconds.
const HORIZON_S: f64 = 4.0 * 3_600.0;

/// Their names.
pub const NAMES: [&str; 4] = ["80 % of the range", "process > 1,000", "growth > 10/s", "straight line"];

/// When each of them first cried, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Pollers {
    pub cried: [Option<u32>; 4],
    held: VecDeque<f64>,
}

impl Pollers {
    /// A second has gone by.
    pub fn second(&mut self, second: u32, levels: &Levels) {
        if !second.is_multiple_of(EVERY) {
            return;
        }
        let held = levels.held as f64;
        self.held.push_back(held);
        if self.held.len() > LINE {
            self.held.pop_front();
        }
        let used = held + levels.time_wait as f64;
        let cries = [
            used > 0.8 * f64::from(USABLE),
            levels.by_pid.values().any(|&held| held > 1_000),
            self.grows(),
            held > 50.0 && self.line_meets(f64::from(USABLE) - used, HORIZON_S),
        ];
        for (cried, cries) in self.cried.iter_mut().zip(cries) {
            if cries && cried.is_none() {
                *cried = Some(second);
            }
        }
    }

    /// By more than ten a second, twice in a row.
    fn grows(&self) -> bool {
        let mut last = self.held.iter().rev();
        let (Some(c), Some(b), Some(a)) = (last.next(), last.next(), last.next()) else {
            return false;
        };
        let enough = 10.0 * f64::from(EVERY);
        c - b > enough && b - a > enough
    }

    /// Prometheus' `predict_linear`: a least-squares line over the last quarter of an hour.
    fn line_meets(&self, room: f64, horizon_s: f64) -> bool {
        if self.held.len() < LINE {
            return false;
        }
        let middle = (LINE - 1) as f64 / 2.0;
        let mean = self.held.iter().sum::<f64>() / LINE as f64;
        let (mut over, mut under) = (0.0, 0.0);
        for (at, held) in self.held.iter().enumerate() {
            let x = at as f64 - middle;
            over += x * (held - mean);
            under += x * x;
        }
        let slope = over / under / f64::from(EVERY);
        slope > 0.0 && room / slope < horizon_s
    }
}

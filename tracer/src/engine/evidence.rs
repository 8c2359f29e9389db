//! The verdict on an owner and its evidence, drawn from its series.

use super::Engine;
use super::SECOND_NS;
use super::detector::policy::Judgement;
use super::pools::Pool;
use super::report::{Evidence, LeakKind, SiteShare, Usual, Verdict};
use super::sampling::Sample;
use super::series_index::SeriesEntry;
use super::series_key::{Key, Part, SeriesIx};
use crate::event::PoolId;

/// What one series shows, with its key.
type Shown = (SeriesIx, Key, Judgement);

impl Engine {
    /// The verdict on an owner and its evidence: the gravest of its series. A destination that
    /// explains the whole is reported in its place.
    pub(super) fn combine(&self, found: &[(SeriesIx, Judgement)]) -> (Verdict, Vec<Evidence>) {
        let shown: Vec<Shown> = found.iter().filter_map(|&(ix, judged)| self.shown(ix, judged)).collect();
        let verdict = shown.iter().map(|(_, _, judged)| judged.verdict).max().unwrap_or_default();
        let mut gravest: Vec<Shown> =
            shown.iter().filter(|(_, _, judged)| judged.verdict == verdict).copied().collect();
        let named: Vec<PoolId> = gravest
            .iter()
            .filter(|(_, key, _)| key.part != Part::Whole)
            .map(|(_, key, _)| key.pool)
            .collect();
        gravest.retain(|(_, key, _)| key.part != Part::Whole || !named.contains(&key.pool));
        for one in &mut gravest {
            if let (Part::Whole, Some(part)) =
                (one.1.part, dominant(&shown, one, self.thresholds.naming.dominant_share))
            {
                *one = part;
            }
        }
        gravest.sort_by_key(|(_, key, judged)| (std::cmp::Reverse(judged.held), *key));
        (verdict, gravest.iter().filter_map(|one| self.evidence(one)).collect())
    }

    /// A program's series shows something only if it is no single process that does it.
    fn shown(&self, ix: SeriesIx, judged: Judgement) -> Option<Shown> {
        let entry = self.series.get(ix)?;
        let spread = || entry.sample.is_some_and(|sample| sample.is_spread(&self.thresholds.program));
        let counts = entry.key.part != Part::Program || judged.verdict >= Verdict::Suspected && spread();
        counts.then_some((ix, entry.key, judged))
    }

    fn evidence(&self, &(ix, key, judged): &Shown) -> Option<Evidence> {
        let entry = self.series.get(ix)?;
        let sample = entry.sample.filter(|_| judged.verdict >= Verdict::Suspected);
        Some(Evidence {
            kind: judged.kind,
            protocol: key.pool.protocol,
            since_ns: self.start_ns + u64::from(judged.since) * SECOND_NS,
            held: judged.held,
            rate_per_s: judged.rate_per_s,
            released_share: judged.released_share,
            exhaustion_in_s: judged.exhaustion_in_s,
            exhaustion_between_s: judged.exhaustion_between_s,
            remote: match key.part {
                Part::Destination(remote) => remote,
                Part::Whole | Part::Program => None,
            },
            usable: self.pools.get(&key.pool).and_then(Pool::known_usable),
            site: self.site(entry, sample),
            oldest_ns: sample.map(|sample| sample.oldest_ns),
            usual: usual(&judged),
            abandoned: judged.abandoned,
            processes: sample.filter(|_| key.part == Part::Program).map(|sample| sample.processes as u64),
        })
    }

    /// The call site that has most of the holds that stay, where they have been sampled; else of all.
    /// Its share is that of everything held.
    fn site(&self, entry: &SeriesEntry, sample: Option<Sample>) -> Option<SiteShare> {
        let stays = sample.and_then(|sample| sample.site);
        let id = stays.or_else(|| entry.sites.dominant())?;
        self.sites.share(id, &entry.sites)
    }
}

/// How holds of the same place live that are not part of a leak.
fn usual(judged: &Judgement) -> Option<Usual> {
    let some = judged.released_share > 0.0 && judged.kind != LeakKind::Churn;
    let life_s = judged.healthy_s.filter(|_| some)?;
    Some(Usual { share: judged.released_share, life_s })
}

/// The destination that has most of what an owner holds in a pool.
fn dominant(shown: &[Shown], (_, whole, judged): &Shown, share: f64) -> Option<Shown> {
    let parts = shown.iter().filter(|(_, key, part)| {
        key.pool == whole.pool && key.part != Part::Whole && part.held as f64 >= share * judged.held as f64
    });
    parts
        .copied()
        .max_by_key(|(_, _, part)| part.held)
        .map(|(ix, key, part)| (ix, key, Judgement { kind: judged.kind, ..part }))
}

//! What a seed decides before anything happens: the world's limits, its people, and what goes wrong.
//!
//! Every seed has a few things that go wrong often and leaves out others, so that rare meetings of two kinds
//! of trouble come about in some seed.

use admit_kernel::{Claim, Counts, IfMissing, Limit, OnFull, Refill, Terms};
use admit_store::Keep;

use crate::faults::Faults;
use crate::random::Random;

/// How long a node stops at most, in milliseconds.
pub(crate) const LONGEST_STOP_MS: u64 = 120_000;

/// How the people of a seed behave, in cases of a thousand where nothing else is said.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Nodes that share the log; 1: one that is alone with it.
    pub nodes: usize,
    pub clients: usize,
    /// Records of the log after which everything calms down.
    pub records: u64,
    pub limits: Vec<Limit>,
    /// What is asked for.
    pub shapes: Vec<Vec<Claim>>,
    pub faults: Faults,
    pub keep: Keep,
    pub snapshot_bytes: u64,
    pub longest_ttl_ms: u64,
    pub longest_hold_ms: u64,
    pub longest_rest_ms: u64,
    /// Messages that are lost, and that take seconds.
    pub lost: u64,
    pub late: u64,
    /// Holders that die, and that pause.
    pub die: u64,
    pub pause: u64,
    /// Requests with a priority or a group.
    pub ranked: u64,
    /// Milliseconds between the steps of somebody who sets the clock, changes limits, or pulls the plug; 0: nobody.
    pub clock_every_ms: u64,
    pub operator_every_ms: u64,
    pub outage_every_ms: u64,
    /// How long the engine is down at most after it died.
    pub longest_down_ms: u64,
    /// The newest snapshot is damaged by a crash.
    pub damage: u64,
    /// Batches that a second engine decides too, on a copy of the log, where a node is alone.
    pub twins: u64,
    /// Things that nodes do in the middle of which they stop, and for how long at most.
    pub stops: u64,
    pub longest_stop_ms: u64,
    /// Crashes of the database while a record is seen that is not on disk.
    pub tail_crashes: u64,
    /// News among nodes that get lost.
    pub news_lost: u64,
    /// Calls before which a client moves to another node.
    pub moves: u64,
}

impl Plan {
    /// The plan of a world with one node or several, or whichever it may be.
    pub fn new(random: &mut Random, of_several: Option<bool>) -> Plan {
        let of_several = of_several.unwrap_or(random.per_mille(500));
        let nodes = if of_several { usize::try_from(random.within(2, 4)).unwrap_or(2) } else { 1 };
        let limits = limits(random);
        let shapes = shapes(random, &limits);
        let often =
            |random: &mut Random, most: u64| if random.per_mille(400) { random.within(1, most) } else { 0 };
        let every =
            |random: &mut Random, ms: u64| if random.per_mille(500) { random.within(ms / 4, ms) } else { 0 };
        let longest_ttl_ms = random.within(2_000, 60_000);
        let faults = Faults {
            crash_before: often(random, 10),
            crash_after: often(random, 10),
            unknown_done: often(random, 30),
            unknown_lost: often(random, 30),
            away: often(random, 10),
            full: often(random, 10),
            slow: often(random, 20),
            crash_elsewhere: often(random, 3),
            errors_elsewhere: often(random, 5),
            longest_ms: *random.pick(&[500, 3_000, 10_000, 90_000]),
        };
        Plan {
            nodes,
            clients: usize::try_from(random.within(2, 12)).unwrap_or(2),
            records: random.within(50, 500),
            limits,
            shapes,
            faults,
            keep: Keep { age_ms: random.within(0, 60_000), bytes: random.within(0, 8_000) },
            snapshot_bytes: random.within(200, 8_000),
            longest_ttl_ms,
            longest_hold_ms: *random.pick(&[200, 2_000, longest_ttl_ms, 2 * longest_ttl_ms]),
            longest_rest_ms: *random.pick(&[50, 500, 5_000]),
            lost: often(random, 60),
            late: often(random, 40),
            die: often(random, 100),
            pause: often(random, 150),
            ranked: often(random, 500),
            clock_every_ms: every(random, 60_000),
            operator_every_ms: every(random, 20_000),
            outage_every_ms: every(random, 120_000),
            longest_down_ms: *random.pick(&[100, 2_000, 10_000, 120_000]),
            damage: often(random, 300),
            twins: random.within(0, 20),
            stops: *random.pick(&[0, 5, 20, 80]),
            longest_stop_ms: *random.pick(&[500, 3_000, longest_ttl_ms, 2 * longest_ttl_ms, LONGEST_STOP_MS]),
            tail_crashes: *random.pick(&[0, 100, 500]),
            news_lost: *random.pick(&[0, 0, 200, 1_000]),
            moves: often(random, 300),
        }
    }
}

/// Limits whose kind and window stay; what operators change is the rest.
fn limits(random: &mut Random) -> Vec<Limit> {
    let window = |random: &mut Random, counts| Refill::Window { ms: random.within(500, 20_000), counts };
    let mut limits = Vec::new();
    let mut add = |random: &mut Random, name: &str, cases: u64, refill: Refill| {
        if random.per_mille(cases) {
            let terms = Terms { max: u32::try_from(random.within(1, 4)).unwrap_or(1), refill };
            limits.push(Limit::new(name, terms));
        }
    };
    add(random, "db", 1_000, Refill::Release);
    add(random, "etl", 500, Refill::Release);
    let runs = window(random, Counts::Runs);
    add(random, "runs", 300, runs);
    let starts = window(random, Counts::Starts);
    add(random, "starts", 300, starts);
    let nano_per_second = random.within(10_000_000, 3_000_000_000);
    add(random, "leaky", 300, Refill::Decay { nano_per_second });
    add(random, "family", 300, Refill::Release);
    add(random, "tenants", 300, Refill::Release);
    for limit in &mut limits {
        if &*limit.name == "family" {
            limit.patterns = vec!["family/*".into()];
        }
        if limit.patterns.is_empty() && random.per_mille(200) {
            limit.on_full = *random.pick(&[OnFull::Reject, OnFull::KeepNewest, OnFull::CancelOldest]);
        }
        if random.per_mille(100) {
            limit.max_len = u32::try_from(random.within(1, 5)).unwrap_or(1);
        }
        if random.per_mille(100) {
            limit.max_wait_ms = Some(random.within(500, 20_000));
        }
    }
    limits
}

fn shapes(random: &mut Random, limits: &[Limit]) -> Vec<Vec<Claim>> {
    let mut singles: Vec<Claim> = Vec::new();
    for limit in limits {
        let slots = u32::try_from(random.within(1, u64::from(limit.terms.max))).unwrap_or(1);
        let name = limit.name.clone();
        match &*limit.name {
            "family" => {
                let terms = Terms::concurrent(slots + 1);
                singles.push(Claim::inline("family/a", terms, 1));
                singles.push(Claim::inline("family/b", Terms::concurrent(2), slots.min(2)));
            }
            "tenants" => {
                singles.extend((0..3).map(|n| Claim::limit_on(name.clone(), format!("tenant/{n}"), 1)))
            }
            _ => {
                singles.push(Claim::limit(name.clone(), 1));
                singles.push(Claim::limit(name, slots));
            }
        }
    }
    if random.per_mille(300) {
        let refill = Refill::Window { ms: random.within(500, 10_000), counts: Counts::Runs };
        singles.extend((1..3).map(|max| Claim::inline("inline", Terms { max, refill }, 1)));
    }
    if random.per_mille(200) {
        let optional = Claim::limit("db", 1);
        singles.push(Claim { if_missing: IfMissing::Admit, ..optional });
    }
    let mut shapes: Vec<Vec<Claim>> = singles.iter().map(|claim| vec![claim.clone()]).collect();
    for _ in 0..random.below(4) {
        let (a, b) = (random.pick(&singles).clone(), random.pick(&singles).clone());
        if a.key != b.key {
            shapes.push(vec![a.clone(), b.clone()]);
            shapes.push(vec![b, a]);
        }
    }
    // Few shapes make long queues, many make many keys.
    let most = random.within(1, 8);
    while shapes.len() as u64 > most {
        let index = usize::try_from(random.below(shapes.len() as u64)).unwrap_or(0);
        shapes.swap_remove(index);
    }
    shapes
}

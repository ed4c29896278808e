//! When a waiting request can expect its slots, and how that is known.

use super::State;
use super::blocked::{Candidate, Effective};
use super::key::Key;
use super::level::PICO;
use super::waitlist::{Place, Queue, Waitlist};
use crate::{Counts, Eta, EtaKind, Mode, QueueNo, Refill, Time};

/// Queues that are counted for one position: a waitlist of more gives a lower bound.
const MAX_COUNTED_QUEUES: usize = 1_000;
/// Holders that are walked for one estimate.
const MAX_WALKED_HOLDERS: usize = 10_000;

/// What goes before a ticket in its waitlist.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ahead {
    pub(super) tickets: u64,
    pub(super) slots: u64,
    /// Whether other groups or more queues than are counted make it less than certain.
    pub(super) vague: bool,
}

impl Eta {
    fn at(at: Time, now: Time, kind: EtaKind, reason: &'static str) -> Eta {
        Eta { in_ms: Some(at.since(now)), kind, reason }
    }

    fn unknown(reason: &'static str) -> Eta {
        Eta { in_ms: None, kind: EtaKind::Unknown, reason }
    }

    /// The later of two, known as badly as the worse of them.
    fn and(self, other: Eta) -> Eta {
        let worse = if self.kind as u8 >= other.kind as u8 { self } else { other };
        let in_ms = self.in_ms.zip(other.in_ms).map(|(a, b)| a.max(b));
        Eta { in_ms, ..worse }
    }

    fn at_best(self, kind: EtaKind, reason: &'static str) -> Eta {
        if (self.kind as u8) < kind as u8 { Eta { kind, reason, ..self } } else { self }
    }
}

impl State {
    /// What goes before a rank of a lane in a waitlist.
    pub(super) fn ahead(&self, list: &Waitlist, candidate: &Candidate<'_>) -> Ahead {
        let mut ahead = Ahead::default();
        let mut counted = 0;
        let own_credit = list.credit(candidate.priority, candidate.group);
        let lanes: Vec<&Place> = list.lane_fronts().collect();
        let of = |queue: &QueueNo| self.queues.get(queue);
        // The own lane first: how many go before in it says how often the others get their turn.
        let own_lane = list.lane(candidate.priority, candidate.group);
        for queue in own_lane.take(MAX_COUNTED_QUEUES).filter_map(|queue| of(&queue)) {
            ahead.add(queue, queue.tickets.rank(candidate.rank) as u64);
            counted += 1;
        }
        let turns = ahead.tickets;
        for &&(std::cmp::Reverse(priority), credit, rank, front) in &lanes {
            let Some(front) = of(&front) else { continue };
            let group = front.identity.group.as_ref();
            if priority < candidate.priority || (priority == candidate.priority && group == candidate.group) {
                continue;
            }
            let before = (credit, rank) < (own_credit, candidate.rank);
            let mut left = if priority > candidate.priority {
                u64::MAX
            } else {
                turns.saturating_add(u64::from(before))
            };
            ahead.vague = true;
            for queue in list.lane(priority, group).take(MAX_COUNTED_QUEUES).filter_map(|queue| of(&queue)) {
                let tickets = left.min(queue.tickets.len() as u64);
                ahead.add(queue, tickets);
                left -= tickets;
                counted += 1;
                if left == 0 || counted >= MAX_COUNTED_QUEUES {
                    break;
                }
            }
        }
        ahead.vague |= counted >= MAX_COUNTED_QUEUES;
        ahead
    }

    /// When all claims of a candidate are expected to fit.
    pub(super) fn eta(&self, candidate: &Candidate<'_>, claims: &[Effective<'_>]) -> Eta {
        let mut eta: Option<Eta> = None;
        let mut keys = 0;
        for claim in claims {
            if self.shortage(candidate, claim).is_none() {
                continue;
            }
            keys += 1;
            let expected = self.eta_of(candidate, claim);
            eta = Some(eta.map_or(expected, |eta| eta.and(expected)));
        }
        let eta = eta.unwrap_or(Eta { in_ms: Some(0), kind: EtaKind::Exact, reason: "it fits" });
        if keys > 1 { eta.at_best(EtaKind::Estimate, "several claims are short") } else { eta }
    }

    /// When one short claim is expected to fit.
    pub(super) fn eta_of(&self, candidate: &Candidate<'_>, claim: &Effective<'_>) -> Eta {
        let resolved = claim.rules;
        if resolved.mode == Mode::Enforce && resolved.terms.max == 0 {
            return Eta::unknown("the limit is closed (max 0)");
        }
        if claim.slots > resolved.terms.max {
            return Eta::unknown("it asks for more slots than the limit allows");
        }
        let paused = resolved.paused_until.filter(|until| self.seen < *until);
        if paused == Some(Time(u64::MAX)) {
            return Eta::unknown("the limit is paused until it is resumed");
        }
        let Some(key) = self.keys.get(claim.key) else {
            return Eta::at(paused.unwrap_or(self.seen), self.seen, EtaKind::Estimate, "the pause ends then");
        };
        let ahead = key.waitlist(claim.terms).map_or(Ahead::default(), |list| self.ahead(list, candidate));
        let eta = self.room_eta(candidate, claim, key, ahead.slots);
        let eta =
            if ahead.vague { eta.at_best(EtaKind::Estimate, "groups or priorities take turns") } else { eta };
        match paused {
            Some(until) => eta.and(Eta::at(until, self.seen, EtaKind::Estimate, "the pause ends then")),
            None => eta,
        }
    }

    /// When a key is expected to have room for a claim after `before` slots more were given to others.
    fn room_eta(&self, candidate: &Candidate<'_>, claim: &Effective<'_>, key: &Key, before: u64) -> Eta {
        let now = self.seen;
        let terms = claim.rules.terms;
        let used = self.used_pico(candidate, claim, key);
        let wanted = used + u128::from(before + u64::from(claim.slots)) * PICO;
        let over = wanted.saturating_sub(u128::from(terms.max) * PICO);
        if over == 0 {
            return Eta::at(now, now, EtaKind::Estimate, "it has room");
        }
        let slots = u64::try_from(over.div_ceil(PICO)).unwrap_or(u64::MAX);
        match terms.refill {
            Refill::Release => self.turnover(key, slots, |_| None, 0),
            Refill::Window { ms, counts: Counts::Starts } => {
                let Some(past) = key.past.as_deref() else {
                    return Eta::unknown("nothing is known of its window");
                };
                let (cycle, index) = cycle(slots, past.starts.slots_after(now.minus(ms)));
                match past.starts.time_of_slot(now.minus(ms), index) {
                    Some(at) => {
                        Eta::at(at.plus(ms).plus(cycle * ms), now, EtaKind::Exact, "the window moves on")
                    }
                    None => Eta::unknown("its slots are held, not in the window"),
                }
            }
            Refill::Window { ms, counts: Counts::Runs } => {
                let ended = |slot| {
                    let past = key.past.as_deref()?;
                    past.ends.time_of_slot(now.minus(ms), slot).map(|at| at.plus(ms))
                };
                self.turnover(key, slots, ended, ms)
            }
            Refill::Decay { nano_per_second } => {
                let ms = over.div_ceil(u128::from(nano_per_second).max(1));
                let at = now.plus(u64::try_from(ms).unwrap_or(u64::MAX));
                Eta::at(at, now, EtaKind::Exact, "the level falls at a constant rate")
            }
        }
    }

    /// When `slots` slots will have come back, each `cooling_ms` after its lease ends, if leases hold as long as
    /// the latest did; `ended` gives the times of those that only cool down.
    fn turnover(&self, key: &Key, slots: u64, ended: impl Fn(u64) -> Option<Time>, cooling_ms: u64) -> Eta {
        let now = self.seen;
        if let Some(at) = ended(slots) {
            return Eta::at(at, now, EtaKind::Exact, "the window moves on");
        }
        let Some(hold) = key.samples.median() else {
            return Eta::unknown("no hold of this key was measured yet");
        };
        let cooled = {
            let past = key.past.as_deref().filter(|_| cooling_ms > 0);
            past.map_or(0, |past| past.ends.slots_after(now.minus(cooling_ms)))
        };
        let (cycle, index) = cycle(slots, cooled + key.holders.slots());
        let base = match ended(index) {
            Some(at) => at,
            None => {
                let mut left = index - cooled.min(index);
                let holders = key.holders.iter().take(MAX_WALKED_HOLDERS).filter_map(|(lease, slots)| {
                    Some((self.leases.at(lease)?.lease.granted_at, u64::from(slots)))
                });
                let mut ends = now;
                for (granted_at, slots) in holders {
                    ends = granted_at.plus(hold).max(now);
                    left = left.saturating_sub(slots);
                    if left == 0 {
                        break;
                    }
                }
                ends.plus(cooling_ms)
            }
        };
        let at = base.plus(cycle.saturating_mul(hold + cooling_ms));
        Eta::at(at, now, EtaKind::Estimate, "the median of the latest holds")
    }
}

impl Ahead {
    fn add(&mut self, queue: &Queue, tickets: u64) {
        let slots = queue.identity.claims.iter().map(|claim| u64::from(claim.slots)).max().unwrap_or(1);
        self.tickets += tickets;
        self.slots += tickets * slots;
    }
}

/// Slots come back in the order in which they were taken, and go round: the `n`-th to come back is the
/// `index`-th of `used` after so many whole rounds.
fn cycle(n: u64, used: u64) -> (u64, u64) {
    let used = used.max(1);
    ((n.max(1) - 1) / used, (n.max(1) - 1) % used + 1)
}

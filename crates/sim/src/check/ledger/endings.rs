//! How leases and tickets end, and whether they may.

use admit_kernel::{Claim, End, Name, OUTAGE_GRACE_MS, Patience, TermsRef, Time};
use uuid::Uuid;

use super::{Ledger, Moment};
use crate::check::{Beliefs, Checked, Rule, broken};

impl Ledger {
    pub(super) fn lease_ended(
        &mut self,
        id: Uuid,
        how: End,
        counts: bool,
        moment: Moment,
        beliefs: &mut Beliefs,
    ) -> Checked {
        let Some(held) = self.leases.remove(&id) else {
            return broken(Rule::Endings, format!("{} ends but is not held", id.as_u128()));
        };
        let name = id.as_u128();
        match how {
            End::Expired | End::Lapsed => {
                self.expiries += 1;
                let due = if how == End::Expired { held.expires_at } else { held.claim_by };
                if due != Some(self.clock) {
                    return broken(
                        Rule::Endings,
                        format!("{name} ends ({how:?}) at {}, due {due:?}", self.clock),
                    );
                }
                let spared =
                    held.spared_until.filter(|(until, slip)| moment.to_ms + (moment.slip_ms - slip) < *until);
                if let Some((until, _)) = spared {
                    return broken(
                        Rule::Outage,
                        format!("{name} ends ({how:?}) at {}, spared until {until}", moment.to_ms),
                    );
                }
                beliefs.ended(id, moment.now_ms, moment.slip_ms)?;
            }
            End::Released if self.asked_to_end.contains(&id) => {}
            End::Reset => beliefs.overrule(id),
            _ => return broken(Rule::Endings, format!("{name} ends by itself: {how:?}")),
        }
        for (key, slots) in self.limits.takes(&held.claims) {
            if counts {
                self.past.ended(&key, self.clock, slots);
            } else {
                self.past.strike(&key, id);
            }
        }
        if !held.rate {
            for claim in self.limits.decaying(&held.claims) {
                self.past.change_level(&self.limits, &claim, self.clock, -i64::from(claim.slots));
            }
        }
        self.ended.insert(id, how);
        Ok(())
    }

    pub(super) fn shrunk(&mut self, id: Uuid, key: &Name, left: u32) {
        let Some(held) = self.leases.get_mut(&id) else { return };
        let before = held.claims.clone();
        let shrink = |claim: &Claim| {
            let slots = if claim.key == *key { claim.slots.min(left) } else { claim.slots };
            (slots > 0).then(|| Claim { slots, ..claim.clone() })
        };
        held.claims = before.iter().filter_map(shrink).collect();
        let after = self.limits.takes(&held.claims);
        let rate = held.rate;
        for (key, had) in self.limits.takes(&before) {
            let has = after.get(&key).copied().unwrap_or(0);
            if has < had {
                self.past.ended(&key, self.clock, had - has);
            }
        }
        if !rate {
            for claim in self.limits.decaying(&before) {
                if claim.key == *key {
                    let given = claim.slots.saturating_sub(left);
                    self.past.change_level(&self.limits, &claim, self.clock, -i64::from(given));
                }
            }
        }
    }

    pub(super) fn ticket_ended(&mut self, id: Uuid, how: End) -> Checked {
        let Some(ticket) = self.tickets.remove(&id) else {
            return broken(Rule::Endings, format!("the ticket {} ends but does not wait", id.as_u128()));
        };
        let right = match how {
            End::TimedOut => self.is_due(ticket.deadline.map(|at| at.0)),
            End::Unattended => {
                self.is_due(ticket.poll_by.map(|at| at.0))
                    && matches!(ticket.patience, Patience::Polled { .. })
            }
            End::Withdrawn => self.asked_to_end.contains(&id),
            End::Replaced => true,
            End::LimitRemoved => ticket.claims.iter().any(|claim| match &claim.terms {
                TermsRef::Limit(name) => !self.limits.0.contains_key(name),
                TermsRef::Inline(_) => false,
            }),
            _ => false,
        };
        if !right {
            return broken(
                Rule::Endings,
                format!("the ticket {} ends ({how:?}) at {}", id.as_u128(), self.clock),
            );
        }
        self.ended.insert(id, how);
        Ok(())
    }

    /// Whether this is the moment; after a silence of the log, whether it went by meanwhile.
    fn is_due(&self, at: Option<u64>) -> bool {
        at.is_some_and(|at| at == self.clock || (at < self.clock && self.silent_until == self.clock))
    }

    pub(super) fn outage(&mut self) {
        self.silent_until = self.clock;
        for held in self.leases.values_mut() {
            let until = self.clock + held.ttl_ms.unwrap_or(OUTAGE_GRACE_MS).min(OUTAGE_GRACE_MS);
            held.expires_at = held.expires_at.map(|at| at.max(until));
            held.claim_by = held.claim_by.map(|at| at.max(until));
        }
        for ticket in self.tickets.values_mut() {
            ticket.poll_by = ticket.poll_by.map(|at| at.max(Time(self.clock + OUTAGE_GRACE_MS)));
        }
    }
}

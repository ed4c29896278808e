//! What callers are told, compared with the log at that moment.

use admit_kernel::{Command, Denial, Lease, Outcome};
use uuid::Uuid;

use super::{Checked, Ledger, Rule, broken};

impl Ledger {
    /// An answer leaves the engine: what it says must be in the durable log by now.
    pub fn told(&self, command: &Command, outcome: &Outcome) -> Checked {
        match (command, outcome) {
            (Command::Acquire(acquire), outcome) => self.told_of(acquire.id, outcome),
            // A ticket is no lease: there is nothing to renew.
            (Command::Renew { id, .. }, Outcome::UnknownId) if self.tickets.contains_key(id) => Ok(()),
            (Command::Ask { id, .. } | Command::Renew { id, .. }, outcome) => self.told_of(*id, outcome),
            (Command::Release { id, part: admit_kernel::Part::All, .. }, Outcome::Released { .. }) => {
                self.is_gone(*id, "released")
            }
            (Command::Withdraw { id }, Outcome::Withdrawn { changed: true }) => {
                self.is_gone(*id, "withdrawn")
            }
            (Command::Withdraw { id } | Command::Release { id, .. }, Outcome::UnknownId) => {
                self.told_of(*id, outcome)
            }
            (Command::SetLimit { limit, .. }, Outcome::LimitStored { after, .. }) => {
                match self.limits.0.get(&limit.name) {
                    Some(stored) if stored.revision >= after.revision => Ok(()),
                    // A later command of the same batch.
                    None if self.removed.contains(&limit.name) => Ok(()),
                    stored => broken(
                        Rule::Acknowledged,
                        format!("limit {} is said to be stored; in the log: {stored:?}", limit.name),
                    ),
                }
            }
            _ => Ok(()),
        }
    }

    /// What somebody is told of a ticket or lease.
    pub fn told_of(&self, id: Uuid, outcome: &Outcome) -> Checked {
        let name = id.as_u128();
        match outcome {
            Outcome::Granted(lease) | Outcome::Renewed(lease) => self.told_held(id, lease),
            Outcome::Waiting { .. } => {
                let known = self.tickets.contains_key(&id)
                    || self.granted.contains_key(&id)
                    || self.ended.contains_key(&id);
                if known { Ok(()) } else { broken(Rule::Acknowledged, format!("{name} is not in the log")) }
            }
            Outcome::UnknownId if self.leases.contains_key(&id) || self.tickets.contains_key(&id) => {
                broken(Rule::Acknowledged, format!("{name} is in the log, but said to be unknown"))
            }
            Outcome::Denied(denial) => match **denial {
                Denial::Ended { how, .. } if self.ended.get(&id) != Some(&how) => broken(
                    Rule::Acknowledged,
                    format!("{name} is said to have ended ({how:?}); in the log: {:?}", self.ended.get(&id)),
                ),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn told_held(&self, id: Uuid, lease: &Lease) -> Checked {
        let name = id.as_u128();
        if self.granted.get(&id) != Some(&lease.token) {
            return broken(
                Rule::Acknowledged,
                format!("{name} is told token {}; in the log: {:?}", lease.token, self.granted.get(&id)),
            );
        }
        // Later commands of the same batch may have ended it already; else it lives as long as it was told.
        match self.leases.get(&id) {
            Some(held) if held.expires_at < lease.expires_at.map(|at| at.0) => broken(
                Rule::Acknowledged,
                format!("{name} is told {:?}; in the log: {:?}", lease.expires_at, held.expires_at),
            ),
            Some(_) => Ok(()),
            None if self.ended.contains_key(&id) => Ok(()),
            None => broken(Rule::Acknowledged, format!("{name} is told to hold; the log does not know")),
        }
    }

    fn is_gone(&self, id: Uuid, how: &str) -> Checked {
        if self.leases.contains_key(&id) || self.tickets.contains_key(&id) {
            return broken(Rule::Acknowledged, format!("{} is {how}, but lives in the log", id.as_u128()));
        }
        Ok(())
    }
}

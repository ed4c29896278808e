//! Whether a state holds together.

use super::{Live, State};

/// Problems that are named; where there are so many, more say nothing new.
const MAX_PROBLEMS: usize = 100;

impl State {
    /// What of the state contradicts the rest of it; nothing: it holds together. Everything that is kept twice, in
    /// an index, a sum or a timer, is made anew and compared.
    ///
    /// That a key is used by no more than its max is not among it: a limit may have been lowered since.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let snapshot = self.snapshot();
        let anew = State::restore(snapshot.clone());
        for (differs, what) in [
            (anew.snapshot() != snapshot, "what a snapshot of it gives"),
            (anew.digest() != self.digest(), "its digest"),
            (anew.totals() != self.totals(), "what it counts"),
            (anew.next_due() != self.next_due(), "when it has something to do next"),
            (anew.needs_heartbeat() != self.needs_heartbeat(), "whether it has to be kept alive"),
        ] {
            if differs {
                problems.push(format!("{what} is not what it would be if the state was made anew"));
            }
        }
        let leases = self.leases.iter().flat_map(|(ix, live)| self.problems_of(ix, live));
        problems.extend(leases.take(MAX_PROBLEMS));
        problems
    }

    fn problems_of(&self, ix: super::LeaseIx, live: &Live) -> Option<String> {
        let lease = &live.lease;
        let taken: u64 = live.takes.iter().map(|&(_, slots)| u64::from(slots)).sum();
        let claimed: u64 = self.takes(&lease.claims).iter().map(|&(_, slots)| u64::from(slots)).sum();
        let what = if self.ids.lease(lease.id) != Some(ix) {
            "its id stands for something else".to_owned()
        } else if lease.token > self.token() {
            format!("its token {} is above the latest, {}", lease.token, self.token())
        } else if taken != claimed {
            format!("it claims {claimed} slots and takes {taken}")
        } else {
            return None;
        };
        Some(format!("lease {}: {what}", lease.id))
    }
}

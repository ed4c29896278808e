//! A request for slots, as the one who waits for its answer sees it.

use std::pin::Pin;
use std::task::{Context, Poll};

use admit_kernel::Outcome;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Error;
use crate::inbox::{Answer, Inbox, Job};

/// Waits for an answer. Dropped before, it sees to it that nothing stays that nobody knows of.
pub(crate) struct Pending<'a> {
    pub inbox: &'a Inbox,
    pub id: Uuid,
    pub no: u64,
    pub answer: oneshot::Receiver<Result<Answer, Error>>,
    pub is_answered: bool,
    /// Whether the ticket, or an undelivered grant, goes with its caller.
    pub leaves_nothing: bool,
}

impl Future for Pending<'_> {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(context) else { return Poll::Pending };
        self.is_answered = true;
        Poll::Ready(answer.unwrap_or(Err(Error::Stopping)).map(|answer| answer.outcome))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        // From here on the engine's thread finds that it cannot deliver.
        self.answer.close();
        let job = match self.answer.try_recv() {
            Ok(Ok(Answer { outcome: Outcome::Granted(_), fresh: true })) if self.leaves_nothing => {
                Job::Undelivered { id: self.id }
            }
            Ok(_) => return,
            Err(_) => Job::Gone { id: self.id, no: self.no },
        };
        // A stopping engine has nothing left to free.
        let _ = self.inbox.push(job);
    }
}

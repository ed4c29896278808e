//! What goes over the wire, as types of its own: the kernel may change without the API doing so.

mod block;
mod explain;
mod key;
mod lease;
mod limit;
mod node;
mod object;
mod page;
mod problem;
mod status;
mod ticket;
mod token;

pub use block::{BlockBody, EtaKindBody, HolderBody};
pub use explain::{EndedBody, ExplainBody, ExplainKind};
pub use key::KeyBody;
pub use lease::{
    AcquireInput, BatchBody, BatchInput, BatchOp, BatchResult, CheckBody, CheckInput, ClaimBody, ClaimInput,
    IfMissing, LeaseBody, OnTimeout, ReleaseOp, RenewInput, RenewOp,
};
pub use limit::{
    Counts, EmptyInput, LimitBody, LimitInput, Mode, OnFull, PauseInput, QueueBody, ResetBody, WindowBody,
};
pub use node::NodeBody;
pub(crate) use object::Object;
pub use page::{KeyQuery, LeaseQuery, Page, PageQuery, TicketQuery};
pub use problem::ProblemBody;
pub use status::{ListenerBody, StatusBody, StoreBody, TotalsBody};
pub use ticket::{TicketBody, TicketState, WaitingBody};
pub use token::{NewTokenBody, Role, TokenBody, TokenInput};

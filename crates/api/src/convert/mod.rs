//! Between the wire and the kernel. Nothing else knows both.

mod event;
mod input;
mod output;
mod time;

pub(crate) use event::{Subjects, event};
pub(crate) use input::{acquire, limit, ttl, within};
pub(crate) use output::{
    block, block_sentence, ended, etag, key, lease, limit_body, ticket_ended, ticket_granted, ticket_waiting,
    token,
};
pub(crate) use time::{ago, at, in_future, parse_time, until};

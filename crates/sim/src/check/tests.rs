//! A log that breaks a rule is noticed, whoever wrote it.

use std::collections::BTreeMap;
use std::sync::Arc;

use admit_kernel::{Claim, End, Event, Grant, Limit, Outcome, Patience, Terms, Ticket, Time};
use uuid::Uuid;

use super::{Beliefs, Ledger, Moment, Rule};

const TTL_MS: u64 = 1_000;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn claims() -> Arc<[Claim]> {
    [Claim::limit("db", 1)].into()
}

fn limit(max: u32) -> Event {
    Event::LimitSet(Box::new(Limit::new("db", Terms::concurrent(max))))
}

fn clock(ms: u64) -> Event {
    Event::Clock(Time(ms))
}

fn granted(n: u128, token: u64) -> Event {
    Event::Granted(Box::new(Grant {
        id: id(n),
        token,
        claims: claims(),
        ttl_ms: Some(TTL_MS),
        rate: false,
        continues: None,
        would_wait: false,
        age: Time(100),
        holder: None,
        labels: Arc::new(BTreeMap::new()),
    }))
}

fn queued(n: u128, arrival: u64) -> Event {
    let ticket = Box::new(Ticket {
        id: id(n),
        claims: claims(),
        priority: 0,
        group: None,
        age: Time(100),
        arrival,
        arrived_at: Time(100),
        patience: Patience::For { wait_ms: 500 },
        deadline: Some(Time(600)),
        poll_by: None,
        ttl_ms: Some(TTL_MS),
        claim_ms: TTL_MS,
        rate: false,
        continues: None,
        holder: None,
        labels: Arc::new(BTreeMap::new()),
    });
    Event::Queued { ticket, queue: 1 }
}

fn ticket_granted(n: u128, token: u64) -> Event {
    Event::TicketGranted { id: id(n), token, would_wait: false, credit: 0 }
}

fn ended(n: u128, how: End) -> Event {
    Event::LeaseEnded { id: id(n), how, counts: true }
}

/// A log by name, and the rule that it breaks.
type Case<'a> = (&'a str, &'a [&'a [Event]], Option<Rule>);

/// The rule that a log breaks first.
fn check(records: &[&[Event]]) -> Option<Rule> {
    check_started(records, usize::MAX)
}

/// The same, where a process starts before the record of this number.
fn check_started(records: &[&[Event]], at: usize) -> Option<Rule> {
    let mut ledger = Ledger::default();
    ledger.asked_to_end.insert(id(9));
    let mut log_ms: u64 = 0;
    records.iter().enumerate().find_map(|(number, events)| {
        let last_ms = log_ms;
        for event in *events {
            if let Event::Clock(at) = event {
                log_ms = at.0;
            }
        }
        let silent_ms = log_ms.saturating_sub(last_ms);
        let (from_ms, to_ms, now_ms, is_first) = (log_ms, log_ms, log_ms, number == at);
        let moment = Moment { from_ms, to_ms, silent_ms, slip_ms: 0, now_ms, is_first };
        ledger.record(events, moment, &mut Beliefs::default()).err().map(|violation| violation.rule)
    })
}

#[test]
fn the_first_rule_that_a_log_breaks_is_named() {
    let start = [clock(100), limit(1)];
    let start = &start[..];
    let cases: &[Case<'_>] = &[
        ("one after the other", &[start, &[granted(9, 1), ended(9, End::Released), granted(2, 2)]], None),
        ("two at a time", &[start, &[granted(1, 1), granted(2, 2)]], Some(Rule::OverMax)),
        ("closed", &[start, &[limit(0), granted(1, 1)]], Some(Rule::OverMax)),
        (
            "paused",
            &[start, &[Event::Paused { name: "db".into(), until: Some(Time(900)) }, granted(1, 1)]],
            Some(Rule::OverMax),
        ),
        (
            "the same twice",
            &[start, &[granted(9, 1), ended(9, End::Released), granted(9, 2)]],
            Some(Rule::GrantedOnce),
        ),
        ("the same token", &[start, &[limit(2), granted(1, 1), granted(2, 1)]], Some(Rule::Tokens)),
        ("released by nobody", &[start, &[granted(1, 1), ended(1, End::Released)]], Some(Rule::Endings)),
        (
            "expired early",
            &[start, &[granted(1, 1), clock(1_099), ended(1, End::Expired)]],
            Some(Rule::Endings),
        ),
        ("expired in time", &[start, &[granted(1, 1), clock(1_100), ended(1, End::Expired)]], None),
        ("never expired", &[start, &[granted(1, 1)], &[clock(1_100), limit(2)]], Some(Rule::Endings)),
        ("waited too long", &[start, &[queued(1, 1)], &[clock(600), limit(0)]], Some(Rule::Endings)),
        (
            "the second first",
            &[start, &[queued(1, 1), queued(2, 2), ticket_granted(2, 1)]],
            Some(Rule::Order),
        ),
        ("a newcomer first", &[start, &[queued(1, 1), granted(2, 1)]], Some(Rule::Order)),
        ("a silence unsaid", &[start, &[granted(1, 1)], &[clock(5_101), limit(1)]], Some(Rule::Outage)),
        ("backwards", &[start, &[clock(99), limit(1)]], Some(Rule::Time)),
    ];
    for (what, records, expect) in cases {
        assert_eq!(check(records), *expect, "{what}");
    }
}

#[test]
fn a_start_is_the_end_of_an_outage_however_short() {
    let start = [clock(100), limit(1), granted(1, 1)];
    let silent = [clock(101), limit(2)];
    let said = [clock(101), Event::Outage { since: Time(100) }, limit(2)];
    assert_eq!(check_started(&[&start, &silent], 1), Some(Rule::Outage));
    assert_eq!(check_started(&[&start, &said], 1), None);
    assert_eq!(check(&[&start, &said]), Some(Rule::Outage), "no process has started");
    assert_eq!(check_started(&[&start, &said[1..]], 1), None, "the log's time stood still");
    assert_eq!(check_started(&[&start, &silent[1..]], 1), Some(Rule::Outage));
}

#[test]
fn who_is_told_what_the_log_does_not_know_is_noticed() {
    let ledger = Ledger::default();
    let told = ledger.told_of(id(1), &Outcome::Waiting { id: id(1) });
    assert_eq!(told.map_err(|violation| violation.rule), Err(Rule::Acknowledged));
}

//! Who waits, who goes next, and that all claims are admitted or none.

mod common;

use admit_kernel::{Acquire, Claim, Denial, Limit, Mode, Terms, Why};
use common::{World, id, waiting};

fn db(max: u32) -> World {
    World::with_limits(&[Limit::new("db", Terms::concurrent(max))])
}

fn one(key: &str) -> Vec<Claim> {
    vec![Claim::limit(key, 1)]
}

#[test]
fn those_who_wait_go_in_the_order_of_their_arrival() {
    let mut world = db(1);
    (1..=5).for_each(|n| world.ask(n, one("db")));
    for n in 1..=5 {
        assert_eq!(world.holding(1..=5), [n]);
        world.release(n);
    }
    assert_eq!(world.used("db"), 0);
    world.check_replay();
}

#[test]
fn the_tickets_are_those_who_wait() {
    let mut world = db(1);
    (1..=4).for_each(|n| world.ask(n, one("db")));
    world.ask(5, vec![Claim::limit("db", 1), Claim::inline("own", Terms::concurrent(1), 1)]);
    world.withdraw(3);
    let mut tickets: Vec<_> = world.state.tickets().map(|ticket| ticket.id).collect();
    tickets.sort_unstable();
    assert_eq!(tickets, [id(2), id(4), id(5)]);
}

#[test]
fn an_older_age_goes_first_and_a_higher_priority_before_it() {
    let mut world = db(1);
    world.ask(1, one("db"));
    world.pass(100);
    world.ask(2, one("db"));
    world.acquire(Acquire { age: Some(admit_kernel::Time(5)), ..waiting(3, one("db")) });
    world.acquire(Acquire { priority: 1, ..waiting(4, one("db")) });
    for n in [1, 4, 3, 2] {
        assert_eq!(world.holding(1..=4), [n]);
        world.release(n);
    }
    world.check_replay();
}

#[test]
fn a_heavy_head_is_not_overtaken_by_light_ones() {
    let mut world = db(3);
    world.ask(1, one("db"));
    world.ask(2, one("db"));
    world.ask(3, vec![Claim::limit("db", 3)]);
    world.ask(4, one("db"));
    assert_eq!(world.holding(1..=4), [1, 2], "a free slot is kept for the heavy head");
    world.release(1);
    world.release(2);
    assert_eq!(world.holding(1..=4), [3]);
    world.release(3);
    assert_eq!(world.holding(1..=4), [4]);
    world.check_replay();
}

#[test]
fn groups_take_turns() {
    let mut world = db(1);
    world.ask(100, one("db"));
    for n in 0..3 {
        world.acquire(Acquire { group: Some("a".into()), ..waiting(n, one("db")) });
    }
    for n in 10..13 {
        world.acquire(Acquire { group: Some("b".into()), ..waiting(n, one("db")) });
    }
    world.release(100);
    let mut order = Vec::new();
    while let Some(n) = (0..20).find(|&n| world.holds(n)) {
        order.push(n);
        world.release(n);
    }
    assert_eq!(order, [0, 10, 1, 11, 2, 12]);
    world.check_replay();
}

#[test]
fn all_claims_or_none() {
    let mut world =
        World::with_limits(&[Limit::new("a", Terms::concurrent(1)), Limit::new("b", Terms::concurrent(1))]);
    world.ask(1, one("b"));
    world.ask(2, vec![Claim::limit("a", 1), Claim::limit("b", 1)]);
    assert_eq!(world.used("a"), 0, "a waiting ticket takes nothing");
    world.release(1);
    assert!(world.holds(2));
    assert_eq!((world.used("a"), world.used("b")), (1, 1));
    world.check_replay();
}

#[test]
fn a_changed_limit_works_at_once_both_ways() {
    let mut world = db(1);
    (1..=5).for_each(|n| world.ask(n, one("db")));
    world.max("db", 3);
    assert_eq!(world.holding(1..=5), [1, 2, 3]);
    world.max("db", 1);
    world.release(1);
    world.release(2);
    assert_eq!(world.holding(1..=5), [3], "nobody is evicted, nobody admitted above the new max");
    world.release(3);
    assert_eq!(world.holding(1..=5), [4]);
    world.check_replay();
}

#[test]
fn too_many_slots_are_impossible_now_or_set_aside_later() {
    let mut world = db(3);
    let heavy = |n, slots| waiting(n, vec![Claim::limit("db", slots)]);
    assert!(matches!(world.denial(heavy(1, 4)), Denial::Impossible { max: 3, asked: 4, .. }));
    world.ask(2, one("db"));
    world.acquire(heavy(3, 3));
    world.ask(4, one("db"));
    assert_eq!(world.holding(2..=4), [2]);
    world.max("db", 2);
    assert_eq!(world.holding(2..=4), [2, 4], "what cannot be reserves nothing");
    assert_eq!(world.state.ticket_view(id(3)).unwrap().blocked_by[0].why, Why::Impossible);
    world.ask(5, one("db"));
    world.max("db", 3);
    world.ask(6, one("db"));
    for n in [2, 4] {
        world.release(n);
    }
    assert_eq!(world.holding(2..=6), [3], "it comes back by its age");
    world.check_replay();
}

#[test]
fn a_closed_limit_queues_and_opens() {
    let mut world = db(0);
    world.ask(1, one("db"));
    assert!(world.waits(1));
    world.max("db", 1);
    assert!(world.holds(1));
    world.check_replay();
}

#[test]
fn a_matching_limit_spans_keys() {
    let mut openai = Limit::new("openai", Terms::concurrent(2));
    openai.patterns = vec!["apim/openai-*".into(), "windmill/openai".into()];
    let mut world = World::with_limits(&[openai.clone()]);
    let own = |key: &str| vec![Claim::inline(key, Terms::concurrent(5), 1)];
    world.ask(1, own("apim/openai-eu"));
    world.ask(2, own("windmill/openai"));
    world.ask(3, own("apim/openai-us"));
    world.ask(4, own("other"));
    assert_eq!(world.holding(1..=4), [1, 2, 4]);
    assert_eq!(world.used("openai"), 2);
    openai.patterns = Vec::new();
    world.set(openai.clone());
    assert_eq!(world.holding(1..=4), [1, 2, 3, 4], "without the match nothing is in its way");
    assert_eq!(world.used("openai"), 0);
    openai.patterns = vec!["**".into()];
    world.set(openai);
    assert_eq!(world.used("openai"), 4, "live leases are counted, nobody is evicted");
    world.check_replay();
}

#[test]
fn observed_limits_count_and_say_what_would_wait() {
    let mut world = db(1);
    let mut limit = world.state.limit("db").unwrap().clone();
    limit.mode = Mode::Observe;
    world.set(limit.clone());
    world.ask(1, one("db"));
    world.ask(2, one("db"));
    assert!(world.state.lease(id(2)).unwrap().would_wait);
    assert_eq!(world.state.limit_counts("db"), (0, 1));
    assert_eq!(world.used("db"), 2);
    limit.mode = Mode::Off;
    world.set(limit);
    assert_eq!(world.used("db"), 0);
    world.check_replay();
}

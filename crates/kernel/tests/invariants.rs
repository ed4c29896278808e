//! The invariants of the design, one test each, as far as the kernel alone can keep them.

mod common;

use admit_kernel::{
    Acquire, Claim, Command, Counts, Denial, End, Event, Limit, MAX_TRIES, Outcome, Part, Patience, Refill,
    State, Terms, Time, Why,
};
use common::{World, id, waiting};

fn one(limit: &str) -> Vec<Claim> {
    vec![Claim::limit(limit, 1)]
}

fn world(limits: &[(&str, u32)]) -> World {
    let limits: Vec<_> = limits.iter().map(|&(name, max)| Limit::new(name, Terms::concurrent(max))).collect();
    World::with_limits(&limits)
}

fn renew(world: &mut World, n: u128) -> Outcome {
    world.run(&Command::Renew { id: id(n), ttl_ms: None })
}

#[test]
fn invariant_01_a_slot_does_not_outlive_its_lease() {
    let mut world = world(&[("db", 1)]);
    world.acquire(Acquire { ttl_ms: Some(2_000), ..Acquire::new(id(1), one("db")) });
    world.ask(2, one("db"));
    world.now += 3_000;
    assert!(matches!(renew(&mut world, 1), Outcome::Denied(denial)
        if matches!(*denial, Denial::Ended { how: End::Expired, .. })));
    let lease = world.state.lease(id(2)).expect("the next has the slot");
    assert_eq!(lease.granted_at, Time(world.now - 1_000), "at the expiry, not at the tick");
    world.pass(4_000);
    world.pass(4_000);
    world.pass(4_000);
    world.pass(4_000);
    world.pass(4_000);
    world.pass(4_000);
    world.pass(4_000);
    world.pass(4_000);
    assert_eq!(world.ended(2), Some(End::Lapsed), "nobody claimed it");
    assert_eq!(world.used("db"), 0);
    world.check_replay();
}

#[test]
fn invariant_02_usage_is_what_live_leases_take() {
    let mut world = world(&[("db", 9)]);
    world.ask(1, vec![Claim::limit("db", 3), Claim::inline("db", Terms::concurrent(9), 2)]);
    assert_eq!(world.used("db"), 3, "of two claims on one key the larger is taken once");
    let part = Part::Slots { key: "db".into(), slots: 1 };
    world.run(&Command::Release { id: id(1), part, counts: true });
    assert_eq!(world.used("db"), 2);
    world.release(1);
    world.release(1);
    assert_eq!(world.used("db"), 0, "a second release gives nothing more");
    world.check_replay();
}

#[test]
fn invariant_04_one_freed_slot_wakes_one() {
    let mut world = world(&[("db", 1)]);
    (0..=1_000).for_each(|n| world.ask(n, one("db")));
    let before = world.log.len();
    world.release(0);
    let grants = world.log[before..].iter().filter(|event| matches!(event, Event::TicketGranted { .. }));
    assert_eq!(grants.count(), 1);
    assert!(world.log.len() - before <= 3, "{:?}", &world.log[before..]);
}

#[test]
fn invariant_05_a_saturated_key_does_not_delay_another() {
    let mut world = world(&[("db", 1), ("free", 1)]);
    (0..10_000).for_each(|n| world.ask(n, one("db")));
    let before = world.log.len();
    world.ask(20_000, one("free"));
    assert!(world.holds(20_000));
    assert_eq!(world.log.len() - before, 1);
}

#[test]
fn invariant_06_a_heavy_ticket_is_not_starved() {
    let mut world = world(&[("db", 3)]);
    (0..3).for_each(|n| world.ask(n, one("db")));
    world.ask(1_000, vec![Claim::limit("db", 3)]);
    for n in 3..100 {
        world.ask(n, one("db"));
    }
    (0..3).for_each(|n| world.release(n));
    assert!(world.holds(1_000), "three releases later");
}

#[test]
fn invariant_06_looser_terms_pass_a_strict_head_64_times_at_most() {
    let mut world = World::default();
    let strict = Claim::inline("k", Terms::concurrent(1), 1);
    let loose = Claim::inline("k", Terms::concurrent(3), 1);
    world.ask(0, vec![loose.clone()]);
    world.ask(1_000, vec![strict]);
    let mut granted = 0;
    for n in 1..500 {
        world.ask(n, vec![loose.clone()]);
        world.release(n - 1);
        granted = n;
        if world.holds(1_000) {
            break;
        }
    }
    assert!(world.holds(1_000) && granted <= 67, "after {granted}");
    world.check_replay();
}

#[test]
fn invariant_06_a_ticket_that_needs_two_busy_keys_is_not_starved() {
    // A head holds for longer each time that it held in vain, so leases longer than the first hold bound it too.
    for (a_ms, b_ms, within_ms) in [
        (70, 110, 30_000),
        (500, 500, 30_000),
        (40, 3_000, 30_000),
        (900, 700, 30_000),
        (60_000, 60_000, 600_000),
    ] {
        let mut world = world(&[("a", 1), ("b", 1)]);
        let (mut n, mut held) = (10, [(0, 0); 2]);
        let start = world.now;
        // Each key is always taken by a light request, and always wanted by the next.
        while !world.holds(1) {
            for (which, (limit, ms)) in [("a", a_ms), ("b", b_ms)].into_iter().enumerate() {
                let (holder, until) = held[which];
                if !world.holds(holder) || until <= world.now {
                    if world.holds(holder) {
                        world.release(holder);
                    }
                    let next = (10..n).find(|&n| {
                        world.holds(n)
                            && held.iter().all(|held| held.0 != n)
                            && world.state.takes_of(id(n)).iter().any(|(key, _)| &**key == limit)
                    });
                    if let Some(next) = next {
                        world.run(&Command::Ask { id: id(next), for_ms: 0 });
                        held[which] = (next, world.now + ms);
                    }
                    n += 1;
                    world.ask(n - 1, one(limit));
                }
            }
            if world.now == start + 50 {
                world.ask(1, vec![Claim::limit("a", 1), Claim::limit("b", 1)]);
            }
            world.pass(10);
            assert!(world.now < start + within_ms, "holds of {a_ms} and {b_ms} ms starve it");
        }
    }
}

#[test]
fn invariant_07_a_changed_limit_works_at_once_and_survives() {
    let mut world = world(&[("db", 2)]);
    (1..=4).for_each(|n| world.ask(n, one("db")));
    world.max("db", 1);
    world.release(1);
    assert_eq!(world.holding(1..=4), [2], "no more above the new max");
    let mut restored = State::restore(world.state.snapshot());
    let release = Command::Release { id: id(2), part: Part::All, counts: true };
    restored.step(Time(world.now), &release, &mut Vec::new());
    assert!(restored.lease(id(3)).is_some() && restored.lease(id(4)).is_none());
}

#[test]
fn invariant_08_a_lost_lease_is_told_and_its_token_is_older() {
    let mut world = world(&[("db", 1)]);
    world.acquire(Acquire { ttl_ms: Some(1_000), ..Acquire::new(id(1), one("db")) });
    let first = world.state.lease(id(1)).expect("it holds").token;
    world.pass(1_000);
    world.ask(2, one("db"));
    let second = world.state.lease(id(2)).expect("it holds").token;
    assert!(first < second);
    assert!(matches!(renew(&mut world, 1), Outcome::Denied(_)));
    world.run(&Command::RaiseEpoch);
    world.release(2);
    world.ask(3, one("db"));
    let third = world.state.lease(id(3)).expect("it holds").token;
    assert!(third > 1 << 41 && third < 1 << 53, "a new epoch is above all tokens of the last");
    world.release(3);
    world.acquire(Acquire { ttl_ms: Some(1_000), ..Acquire::new(id(5), one("db")) });
    world.ask(4, one("db"));
    world.now += 1_000;
    world.run(&Command::RaiseEpoch);
    world.run(&Command::Tick);
    let fourth = world.state.lease(id(4)).expect("it holds").token;
    assert!(fourth > 2 << 41, "also of a grant that was due before the epoch rose");
    world.check_replay();
}

#[test]
fn invariant_09_every_wait_can_be_explained() {
    let check = |world: &World, n: u128, why: Why| {
        let view = world.state.ticket_view(id(n)).expect("it waits");
        assert_eq!(view.blocked_by.first().map(|block| block.why), Some(why), "{n}");
    };
    let mut world = world(&[("db", 1), ("shut", 0), ("wide", 3), ("paused", 1)]);
    world.run(&Command::Pause { name: "paused".into(), until: Some(Time(u64::MAX)), if_version: None });
    world.ask(1, one("db"));
    world.ask(2, one("db"));
    world.ask(3, one("db"));
    world.ask(4, one("shut"));
    world.ask(5, one("paused"));
    world.ask(6, one("wide"));
    world.ask(7, vec![Claim::limit("wide", 3)]);
    world.max("wide", 2);
    check(&world, 2, Why::NoRoom);
    check(&world, 3, Why::NoRoom);
    check(&world, 4, Why::Closed);
    check(&world, 5, Why::Paused);
    check(&world, 7, Why::Impossible);
    let view = world.state.ticket_view(id(3)).expect("it waits");
    assert_eq!((&*view.parked_at, view.position), ("db", 2));
    assert_eq!(view.blocked_by[0].holders[0].id, id(1));
}

#[test]
fn invariant_10_what_a_window_counts_is_shown() {
    let runs = Terms { max: 1, refill: Refill::Window { ms: 1_000, counts: Counts::Runs } };
    let mut world = World::with_limits(&[Limit::new("db", runs)]);
    world.ask(1, one("db"));
    let view = |world: &World| world.state.key_view("db", 9);
    assert_eq!((view(&world).running, view(&world).cooling, view(&world).used), (1, 0, 1));
    world.pass(500);
    world.release(1);
    assert_eq!((view(&world).running, view(&world).cooling, view(&world).used), (0, 1, 1));
    assert_eq!(view(&world).window_known_since, Some(Time(world.now - 500)));
}

#[test]
fn invariant_11_a_backlog_is_capped() {
    let mut limit = Limit::new("db", Terms::concurrent(1));
    limit.max_len = 2;
    let mut world = World::with_limits(&[limit]);
    (1..=3).for_each(|n| world.ask(n, one("db")));
    let denial = world.denial(waiting(4, one("db")));
    assert!(matches!(denial, Denial::QueueFull { waiting: 2, max_len: 2, limit: Some(_), .. }), "{denial:?}");
    world.release(1);
    world.ask(5, one("db"));
    assert!(world.waits(5));
}

#[test]
fn invariant_11_at_most_64_inline_terms_wait_at_a_key() {
    let mut world = World::default();
    let terms = |max| vec![Claim::inline("k", Terms::concurrent(max), 1)];
    for n in 0..100 {
        world.ask(1_000 + n, terms(100));
    }
    (1..=64).for_each(|max| world.ask(u128::from(max), terms(max)));
    assert!(matches!(world.denial(waiting(99, terms(65))), Denial::TooManyTerms { max: 64, .. }));
    world.ask(65, terms(64));
    assert!(world.waits(65), "terms that wait there already are no further ones");
}

#[test]
fn invariant_12_all_claims_or_none() {
    let mut world = world(&[("a", 1), ("b", 1), ("c", 1)]);
    world.ask(1, one("c"));
    let all = vec![Claim::limit("a", 1), Claim::limit("b", 1), Claim::limit("c", 1)];
    assert!(matches!(world.denial(Acquire::new(id(2), all.clone())), Denial::Full { .. }));
    assert_eq!(["a", "b", "c"].map(|key| world.used(key)), [0, 0, 1]);
    world.ask(3, all);
    world.release(1);
    assert_eq!(["a", "b", "c"].map(|key| world.used(key)), [1, 1, 1]);
}

#[test]
fn invariant_14_the_same_log_makes_the_same_state() {
    let mut world = world(&[("a", 1), ("b", 2)]);
    let mut follower = State::new();
    follower.replay(&world.log);
    for n in 0..200u128 {
        let from = world.log.len();
        let claims = if n % 3 == 0 { vec![Claim::limit("a", 1), Claim::limit("b", 1)] } else { one("b") };
        world.acquire(Acquire { ttl_ms: Some(1_000), ..waiting(n, claims) });
        world.pass(137);
        follower.replay(&world.log[from..]);
        assert_eq!(follower.digest(), world.state.digest());
    }
    assert_eq!(follower.snapshot(), world.state.snapshot());
    world.check_replay();
}

#[test]
fn invariant_15_an_outage_expires_nobody_who_comes_back_in_time() {
    let mut world = world(&[("db", 2)]);
    for n in [1, 2] {
        world.acquire(Acquire { ttl_ms: Some(2_000), ..Acquire::new(id(n), one("db")) });
    }
    world.ask(3, one("db"));
    world.now += 5_001;
    assert!(matches!(renew(&mut world, 1), Outcome::Renewed(_)), "it comes back and holds on");
    assert!(world.waits(3), "nobody else gets in before");
    world.pass(1_999);
    assert!(matches!(renew(&mut world, 1), Outcome::Renewed(_)));
    assert!(world.holds(2) && world.waits(3));
    world.pass(1);
    assert_eq!(world.ended(2), Some(End::Expired), "who does not come back is freed after the grace");
    assert!(world.holds(1) && world.holds(3));
    world.check_replay();
}

#[test]
fn invariant_15_a_short_restart_of_the_only_node_expires_nobody_who_comes_back() {
    let mut world = world(&[("db", 3)]);
    for (n, ttl_ms) in [(1, 2_000), (2, 2_000), (3, 60_000)] {
        world.acquire(Acquire { ttl_ms: Some(ttl_ms), ..Acquire::new(id(n), one("db")) });
    }
    let long = world.state.lease(id(3)).cloned();
    world.now += 3_000;
    world.run(&Command::Outage);
    assert!(matches!(renew(&mut world, 1), Outcome::Renewed(_)), "it comes back and holds on");
    assert_eq!(world.state.lease(id(3)).cloned(), long, "it has longer than the grace already");
    world.pass(1_999);
    assert!(matches!(renew(&mut world, 1), Outcome::Renewed(_)));
    world.pass(1);
    assert_eq!(world.ended(2), Some(End::Expired), "who does not come back is freed after the grace");
    // The log's time may have stood still while that of the holders went on.
    world.pass(1_500);
    world.run(&Command::Outage);
    world.pass(1_999);
    assert!(matches!(renew(&mut world, 1), Outcome::Renewed(_)));
    world.check_replay();
}

#[test]
fn the_work_of_a_step_is_bounded_whatever_the_backlog() {
    let mut world = world(&[("all", 1), ("other", 1)]);
    world.run(&Command::Pause { name: "all".into(), until: Some(Time(u64::MAX)), if_version: None });
    let most = MAX_TRIES as usize * 8;
    for n in 0..10_000 {
        let own = Claim::inline(format!("tenant/{n}"), Terms::concurrent(1), 1);
        world.ask(n, vec![Claim::limit("all", 1), own]);
    }
    let step = |world: &mut World, command: &Command| {
        let before = world.log.len();
        world.run(command);
        let events = world.log.len() - before;
        assert!(events <= most, "{events} events of {command:?}");
    };
    step(
        &mut world,
        &Command::SetLimit {
            limit: Box::new(Limit::new("all", Terms::concurrent(5_000))),
            if_revision: None,
        },
    );
    step(&mut world, &Command::Pause { name: "all".into(), until: None, if_version: None });
    let mut steps = 0;
    while world.state.next_due().is_some_and(|due| due.0 <= world.now) {
        step(&mut world, &Command::Tick);
        steps += 1;
        assert!(steps < 1_000);
    }
    assert_eq!(world.used("all"), 5_000);
    for n in 0..100 {
        step(&mut world, &Command::Release { id: id(n), part: Part::All, counts: true });
        step(&mut world, &Command::Acquire(Box::new(waiting(50_000 + n, one("other")))));
    }
}

#[test]
fn an_id_stands_for_one_request() {
    let mut world = world(&[("db", 1), ("other", 1)]);
    let ask = |n| waiting(n, one("db"));
    let Outcome::Granted(first) = world.acquire(ask(1)) else { panic!("it is free") };
    assert_eq!(world.acquire(ask(1)), Outcome::Granted(first), "the same lease");
    world.acquire(ask(2));
    assert_eq!(world.acquire(ask(2)), Outcome::Waiting { id: id(2) }, "the same ticket");
    assert_eq!(world.denial(waiting(1, one("other"))), Denial::IdReused);
    assert_eq!(world.denial(waiting(2, one("other"))), Denial::IdReused);
    world.release(1);
    world.release(2);
    let ended = |world: &mut World| {
        matches!(world.acquire(ask(1)), Outcome::Denied(denial)
        if matches!(*denial, Denial::Ended { how: End::Released, .. }))
    };
    assert!(ended(&mut world));
    world.now += 24 * 3_600_000 - 1;
    world.ask(3, one("other"));
    assert!(ended(&mut world), "remembered for a day");
    world.now += 1;
    world.run(&Command::SetClockOffset { ms: 1 });
    assert!(matches!(world.acquire(ask(1)), Outcome::Granted(_)));
    world.check_replay();
}

#[test]
fn who_will_not_wait_is_told_what_is_in_the_way() {
    let mut world = world(&[("db", 1)]);
    world.acquire(Acquire { holder: Some("worker-1".into()), ..waiting(1, one("db")) });
    let none = Acquire { patience: Patience::None, ..Acquire::new(id(2), one("db")) };
    let Denial::Full { blocked_by } = world.denial(none) else { panic!("it is full") };
    let block = &blocked_by[0];
    assert_eq!((block.why, block.used, block.max, block.waiting), (Why::NoRoom, 1, 1, 0));
    assert_eq!(block.holders[0].holder.as_deref(), Some("worker-1"));
}

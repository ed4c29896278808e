//! Corners where two rules meet.

mod common;

use admit_kernel::{
    Acquire, Claim, Command, Counts, Denial, Event, FORMAT, Limit, MAX_HISTORY, Mode, OLDEST_FORMAT, OnFull,
    Outcome, Part, Patience, Refill, Terms, Time,
};
use common::{World, id, waiting};

fn decaying(max: u32, per_second: u64) -> Terms {
    Terms { max, refill: Refill::Decay { nano_per_second: per_second * 1_000_000_000 } }
}

fn window(max: u32, ms: u64, counts: Counts) -> Terms {
    Terms { max, refill: Refill::Window { ms, counts } }
}

fn one(limit: &str) -> Vec<Claim> {
    vec![Claim::limit(limit, 1)]
}

fn part(world: &mut World, n: u128, key: &str, slots: u32) {
    let part = Part::Slots { key: key.into(), slots };
    world.run(&Command::Release { id: id(n), part, counts: true });
}

#[test]
fn a_partial_release_lowers_only_the_levels_of_what_it_gives_back() {
    let mut rate = Limit::new("rate", Terms { max: 4, refill: Refill::Decay { nano_per_second: 1 } });
    rate.patterns = vec!["tenant/*".into()];
    let mut world = World::with_limits(&[rate, Limit::new("other", Terms::concurrent(4))]);
    let own = |slots| Claim::inline("tenant/1", Terms::concurrent(4), slots);
    world.ask(1, vec![own(3), Claim::limit("other", 1)]);
    assert_eq!(world.used("rate"), 3);
    part(&mut world, 1, "other", 1);
    assert_eq!(world.used("rate"), 3, "another key gives nothing back");
    part(&mut world, 1, "tenant/1", 1);
    assert_eq!(world.used("rate"), 2, "one slot gives one back");
    world.release(1);
    assert_eq!(world.used("rate"), 0);
    world.check_replay();
}

#[test]
fn a_history_beyond_its_bound_still_frees_later_never_earlier() {
    let mut world = World::with_limits(&[Limit::new("db", window(1_000_000, 60_000, Counts::Starts))]);
    let n = MAX_HISTORY as u128 + 1;
    for n in 0..n {
        world.acquire(Acquire { ttl_ms: None, ..Acquire::new(id(n), one("db")) });
    }
    assert_eq!(world.used("db"), n as u64);
    for n in (1..1_000).step_by(2) {
        world.run(&Command::Release { id: id(n), part: Part::All, counts: false });
    }
    assert!(world.used("db") >= n as u64 - 500, "{}", world.used("db"));
}

#[test]
fn keep_newest_is_capped_where_it_replaces_nobody() {
    let mut limit = Limit::new("db", Terms::concurrent(1));
    (limit.on_full, limit.max_len) = (OnFull::KeepNewest, 2);
    let mut world = World::with_limits(&[limit]);
    let of_group = |n: u128| Acquire { group: Some(format!("g{n}").into()), ..waiting(n, one("db")) };
    (0..3).for_each(|n| drop(world.acquire(of_group(n))));
    assert!(matches!(world.denial(of_group(3)), Denial::QueueFull { waiting: 2, max_len: 2, .. }));
    world.acquire(Acquire { group: Some("g1".into()), ..waiting(4, one("db")) });
    assert!(world.waits(4) && !world.waits(1), "who replaces another adds nobody");
    world.check_replay();
}

#[test]
fn leases_that_end_at_one_time_all_end_before_anybody_is_tried() {
    let mut world =
        World::with_limits(&[Limit::new("a", Terms::concurrent(1)), Limit::new("b", Terms::concurrent(1))]);
    for (n, limit) in [(1, "a"), (2, "b")] {
        world.acquire(Acquire { ttl_ms: Some(1_000), ..Acquire::new(id(n), one(limit)) });
    }
    world.ask(3, vec![Claim::limit("a", 1), Claim::limit("b", 1)]);
    world.ask(4, one("a"));
    world.pass(1_000);
    assert_eq!(world.holding(1..=4), [3], "the older one has both keys free");
    world.check_replay();
}

#[test]
fn what_is_impossible_by_another_key_reserves_nothing_at_this_one() {
    let mut world =
        World::with_limits(&[Limit::new("a", Terms::concurrent(3)), Limit::new("b", Terms::concurrent(3))]);
    world.ask(1, vec![Claim::limit("b", 2)]);
    world.ask(2, vec![Claim::limit("b", 3), Claim::limit("a", 3)]);
    world.ask(3, one("b"));
    assert_eq!(world.holding(1..=3), [1], "a heavy head waits for its slots of b");
    world.max("a", 2);
    assert_eq!(world.holding(1..=3), [1, 3], "it can never be admitted now, so b is free for others");
    world.release(1);
    world.release(3);
    world.max("a", 3);
    assert_eq!(world.holding(1..=3), [2]);
    world.check_replay();
}

#[test]
fn a_claim_through_a_limit_that_is_off_takes_nothing() {
    let mut off = Limit::new("off", Terms::concurrent(9));
    off.mode = Mode::Off;
    let mut world = World::with_limits(&[off]);
    let claims = vec![Claim::limit_on("off", "k", 5), Claim::inline("k", Terms::concurrent(2), 1)];
    world.ask(1, claims);
    assert!(world.holds(1));
    assert_eq!(world.state.takes_of(id(1)), [("k".into(), 1)]);
}

#[test]
fn less_matched_slots_make_room_at_once() {
    let mut spanning = Limit::new("all", Terms::concurrent(9));
    spanning.patterns = vec!["k/*".into()];
    let mut world = World::with_limits(&[spanning.clone()]);
    let own = |key: &str, slots| Claim::inline(key, Terms::concurrent(5), slots);
    world.ask(1, vec![own("k/1", 3), own("k/2", 1)]);
    world.ask(2, vec![Claim::inline("all", Terms::concurrent(3), 2)]);
    assert!(world.waits(2));
    spanning.patterns = vec!["k/2".into()];
    world.set(spanning);
    assert_eq!(world.used("all"), 3);
    assert!(world.holds(2), "the lease takes one slot of it now, not three");
    world.check_replay();
}

#[test]
fn a_window_judges_old_leases_by_their_starts() {
    let mut world = World::default();
    let hold = Claim::inline("k", Terms::concurrent(9), 1);
    (1..=3).for_each(|n| world.ask(n, vec![hold.clone()]));
    world.pass(4_000);
    let rate = Claim::inline("k", window(2, 1_000, Counts::Starts), 1);
    let now = |n| Acquire { patience: Patience::None, ..Acquire::new(id(n), vec![rate.clone()]) };
    assert!(matches!(world.acquire(now(4)), Outcome::Granted(_)), "nothing started in the last second");
    assert!(matches!(world.acquire(now(5)), Outcome::Granted(_)));
    assert!(matches!(world.acquire(now(6)), Outcome::Denied(_)));
    world.check_replay();
}

#[test]
fn a_limit_that_begins_to_decay_begins_with_what_is_in_use_on_every_key() {
    let mut world = World::with_limits(&[Limit::new("per", Terms::concurrent(2))]);
    let own = |n| waiting(n, vec![Claim::limit_on("per", "tenant/1", 1)]);
    world.acquire(own(1));
    world.acquire(own(2));
    world.set(Limit::new("per", decaying(2, 1)));
    world.acquire(own(3));
    assert!(world.waits(3));
    world.pass(999);
    assert!(world.waits(3));
    world.pass(1);
    assert!(world.holds(3));
    world.check_replay();
}

#[test]
fn a_decaying_limit_that_was_off_begins_with_what_is_in_use() {
    let mut limit = Limit::new("rate", decaying(1, 1));
    limit.mode = Mode::Off;
    let mut world = World::with_limits(&[limit.clone()]);
    world.ask(1, one("rate"));
    limit.mode = Mode::Enforce;
    world.set(limit);
    assert_eq!(world.used("rate"), 1);
    world.ask(2, one("rate"));
    world.release(1);
    assert!(world.holds(2), "a release lowers what the lease had raised");
    world.check_replay();
}

#[test]
fn a_limit_made_anew_remembers_nothing_of_the_one_before() {
    let mut world = World::with_limits(&[Limit::new("rate", decaying(2, 1))]);
    world.acquire(Acquire { rate: true, ..Acquire::new(id(1), vec![Claim::limit("rate", 2)]) });
    world.release(1);
    assert_eq!(world.used("rate"), 2);
    world.run(&Command::RemoveLimit { name: "rate".into(), if_revision: None });
    world.set(Limit::new("rate", decaying(2, 1)));
    assert_eq!(world.used("rate"), 0);
    world.check_replay();
}

#[test]
fn cancel_oldest_asks_the_holders_of_the_limit_that_says_so() {
    let mut b = Limit::new("b", Terms::concurrent(1));
    b.on_full = OnFull::CancelOldest;
    let mut world = World::with_limits(&[Limit::new("a", Terms::concurrent(1)), b]);
    world.ask(1, one("a"));
    world.ask(2, one("b"));
    world.ask(3, vec![Claim::limit("a", 1), Claim::limit("b", 1)]);
    let asked = |n| world.state.lease(id(n)).unwrap().cancel_asked;
    assert_eq!((asked(1), asked(2)), (false, true));
}

#[test]
fn a_pause_that_was_moved_ends_once() {
    let mut world = World::with_limits(&[Limit::new("db", Terms::concurrent(1))]);
    for until in [world.now + 100, world.now + 300, world.now + 200] {
        world.run(&Command::Pause { name: "db".into(), until: Some(Time(until)), if_version: None });
    }
    world.ask(1, one("db"));
    assert_eq!(world.state.next_due(), Some(Time(world.now + 200)), "earlier ones are of no more use");
    world.pass(200);
    world.ask(1, one("db"));
    assert_eq!(world.state.next_due(), None);
    world.check_replay();
}

#[test]
fn a_pause_and_a_reset_are_of_the_version_that_they_name_or_not_at_all() {
    let mut world = World::with_limits(&[Limit::new("db", Terms::concurrent(1))]);
    let version = |world: &World| world.state.limit("db").map(|limit| limit.version(Time(world.now)));
    let pause = |world: &mut World, until: Option<u64>, if_version| {
        let until = until.map(Time);
        world.run(&Command::Pause { name: "db".into(), until, if_version })
    };
    let reset = |world: &mut World, if_version| world.run(&Command::Reset { name: "db".into(), if_version });
    let (soon, running) = (world.now + 100, version(&world));
    assert!(matches!(pause(&mut world, Some(soon), running), Outcome::LimitStored { .. }));
    let paused = version(&world);
    for until in [None, Some(soon), Some(u64::MAX)] {
        assert!(matches!(pause(&mut world, until, running), Outcome::RevisionMismatch { .. }), "{until:?}");
    }
    assert!(matches!(reset(&mut world, running), Outcome::RevisionMismatch { current: Some(1) }));
    assert_eq!(reset(&mut world, paused), Outcome::Reset { ended: 0 });
    // A pause that is over is none, whether or not anything was handled since.
    world.now = soon;
    assert_eq!(version(&world), running);
    assert!(matches!(pause(&mut world, None, paused), Outcome::RevisionMismatch { .. }));
    assert_eq!(reset(&mut world, running), Outcome::Reset { ended: 0 });
}

#[test]
fn work_left_at_one_key_does_not_keep_another_from_its_turn() {
    let mut world =
        World::with_limits(&[Limit::new("a", Terms::concurrent(1)), Limit::new("z", Terms::concurrent(1))]);
    world.ask(1, one("z"));
    world.ask(2, one("z"));
    world.run(&Command::Pause { name: "a".into(), until: Some(Time(u64::MAX)), if_version: None });
    for n in 0..1_000 {
        let own = Claim::inline(format!("own/{n}"), Terms::concurrent(1), 1);
        world.ask(1_000 + n, vec![own.clone()]);
        world.ask(10_000 + n, vec![Claim::limit("a", 1), own]);
    }
    world.max("a", 1_000);
    world.run(&Command::Pause { name: "a".into(), until: None, if_version: None });
    world.run(&Command::Release { id: id(1), part: Part::All, counts: true });
    assert!(world.holds(2), "one step later, whatever is left to do at a");
}

#[test]
fn a_window_that_moves_on_during_an_outage_wakes_who_waits_for_it() {
    let rate = || vec![Claim::inline("k", window(1, 700, Counts::Starts), 1)];
    let mut world = World::with_limits(&[Limit::new("db", Terms::concurrent(1))]);
    let through_db = |n| waiting(n, vec![Claim::limit_on("db", "k", 1)]);
    world.ask(1, rate());
    world.acquire(through_db(2));
    world.acquire(Acquire { patience: Patience::For { wait_ms: 1 }, ..through_db(3) });
    world.ask(4, rate());
    assert!(world.waits(4));
    world.now += 6_000;
    world.run(&Command::Tick);
    assert!(!world.waits(3), "another ticket of the key ended in the same step");
    assert!(world.holds(4));
    world.check_replay();
}

#[test]
fn who_continues_a_run_with_less_leaves_room_for_another() {
    let mut world = World::with_limits(&[Limit::new("db", window(2, 1_000, Counts::Runs))]);
    world.ask(1, vec![Claim::limit("db", 2)]);
    world.release(1);
    world.ask(2, one("db"));
    assert!(world.waits(2), "the run still cools down");
    world.acquire(Acquire { priority: 1, continues: Some(id(1)), ..waiting(3, one("db")) });
    assert_eq!(world.holding(2..=3), [2, 3]);
    world.check_replay();
}

#[test]
fn an_outage_spares_a_grant_that_nobody_could_claim_also_where_the_lease_never_expires() {
    let mut world = World::with_limits(&[Limit::new("db", Terms::concurrent(1))]);
    world.ask(1, one("db"));
    world.ask(2, one("db"));
    world.release(1);
    assert!(world.holds(2), "granted, to be claimed within 30 s");
    world.now += 60_000;
    world.run(&Command::Ask { id: id(2), for_ms: 0 });
    assert!(world.holds(2), "nothing could be written meanwhile, so nobody could have asked");
    world.pass(60_000);
    assert!(world.holds(2), "claimed");
    world.check_replay();
}

#[test]
fn a_format_rises_once_and_never_falls() {
    let mut world = World::with_limits(&[Limit::new("db", Terms::concurrent(1))]);
    assert_eq!(world.state.format(), OLDEST_FORMAT);
    for format in [FORMAT, FORMAT, OLDEST_FORMAT] {
        world.run(&Command::RaiseFormat { format });
        assert_eq!(world.state.format(), FORMAT);
    }
    let raised = world.log.iter().filter(|event| matches!(event, Event::FormatRaised { .. }));
    assert_eq!(raised.count(), 1);
    world.check_replay();
}

//! What time alone does: windows, decay, deadlines, and how well a wait is foretold.

mod common;

use admit_kernel::{
    Acquire, Claim, Command, Counts, End, EtaKind, Limit, Mode, Outcome, Patience, Refill, State, Terms, Time,
};
use common::{World, id, waiting};

fn limit(max: u32, refill: Refill) -> World {
    World::with_limits(&[Limit::new("db", Terms { max, refill })])
}

fn window(max: u32, ms: u64, counts: Counts) -> World {
    limit(max, Refill::Window { ms, counts })
}

fn one() -> Vec<Claim> {
    vec![Claim::limit("db", 1)]
}

/// Time passes as in an engine that says each second that it is alive.
fn live(world: &mut World, ms: u64) {
    let until = world.now + ms;
    while world.now < until {
        world.pass((until - world.now).min(1_000));
    }
}

#[test]
fn a_window_of_starts_counts_them_whether_they_run_or_not() {
    let mut world = window(2, 1_000, Counts::Starts);
    world.ask(1, one());
    live(&mut world, 300);
    world.ask(2, one());
    world.release(1);
    world.ask(3, one());
    world.ask(4, one());
    live(&mut world, 699);
    assert_eq!(world.holding(1..=4), [2]);
    live(&mut world, 1);
    assert_eq!(world.holding(1..=4), [2, 3], "at the very edge, though 2 still runs");
    live(&mut world, 300);
    assert_eq!(world.holding(1..=4), [2, 3, 4]);
    world.check_replay();
}

#[test]
fn who_has_seen_a_later_time_counts_what_would_wait_like_everybody() {
    let mut limit =
        Limit::new("db", Terms { max: 1, refill: Refill::Window { ms: 1_000, counts: Counts::Starts } });
    limit.mode = Mode::Observe;
    let mut world = World::with_limits(&[limit]);
    world.ask(1, one());
    let mut other = State::new();
    other.replay(&world.log);
    let mut events = Vec::new();
    other.step(Time(world.now + 5_000), &Command::Withdraw { id: id(9) }, &mut events);
    assert!(events.is_empty(), "nobody else hears of it: {events:?}");
    let read = world.log.len();
    world.ask(2, one());
    other.replay(&world.log[read..]);
    assert_eq!((world.state.limit_counts("db"), other.limit_counts("db")), ((0, 1), (0, 1)));
}

#[test]
fn a_window_of_runs_counts_what_runs_and_what_ended_in_it() {
    let mut world = window(1, 1_000, Counts::Runs);
    world.ask(1, one());
    world.ask(2, one());
    live(&mut world, 3_000);
    world.release(1);
    live(&mut world, 999);
    assert!(world.waits(2));
    live(&mut world, 1);
    assert!(world.holds(2), "a window after the end");
    world.check_replay();
}

#[test]
fn a_run_cancelled_before_it_began_is_not_in_the_window() {
    for counts in [Counts::Starts, Counts::Runs] {
        let mut world = window(1, 60_000, counts);
        world.ask(1, one());
        world.ask(2, one());
        world.run(&Command::Release { id: id(1), part: admit_kernel::Part::All, counts: false });
        assert!(world.holds(2), "{counts:?}");
        world.check_replay();
    }
}

#[test]
fn who_continues_a_run_is_not_held_up_by_its_end() {
    let mut world = window(1, 60_000, Counts::Runs);
    world.ask(1, one());
    world.release(1);
    world.ask(2, one());
    assert!(world.waits(2));
    world.withdraw(2);
    world.acquire(Acquire { continues: Some(id(1)), ..waiting(3, one()) });
    assert!(world.holds(3));
    assert_eq!(world.used("db"), 1, "the run counts once");
    world.check_replay();
}

#[test]
fn decay_keeps_its_fractions() {
    let mut world = limit(2, Refill::Decay { nano_per_second: 1_000_000_000 });
    for n in 0..6 {
        let outcome = world.acquire(Acquire { rate: true, ..Acquire::new(id(n), one()) });
        assert!(matches!(outcome, Outcome::Granted(_)), "{n}: {outcome:?}");
        world.release(n);
        live(&mut world, 900);
    }
    // Six takes, 5.4 s of decay: 0.6 are left. Lost fractions would have made it 6 or 0.
    assert_eq!(world.used("db"), 1);
    live(&mut world, 599);
    assert_eq!(world.used("db"), 1);
    live(&mut world, 1);
    assert_eq!(world.used("db"), 0);
    world.check_replay();
}

#[test]
fn a_release_lowers_the_level_unless_it_is_a_rate() {
    for (rate, left) in [(false, 0), (true, 1)] {
        let mut world = limit(1, Refill::Decay { nano_per_second: 1_000_000_000 });
        world.acquire(Acquire { rate, ..Acquire::new(id(1), one()) });
        world.release(1);
        assert_eq!(world.used("db"), left, "rate: {rate}");
        world.ask(2, one());
        assert_eq!(world.holds(2), !rate);
        live(&mut world, 1_000);
        assert!(world.holds(2));
    }
}

#[test]
fn a_pause_ends_at_its_time() {
    let mut world = limit(1, Refill::Release);
    world.run(&Command::Pause { name: "db".into(), until: Some(Time(world.now + 500)), if_version: None });
    world.ask(1, one());
    live(&mut world, 499);
    assert!(world.waits(1));
    live(&mut world, 1);
    assert!(world.holds(1));
    world.check_replay();
}

#[test]
fn those_who_wait_go_when_their_time_is_over() {
    let mut db = Limit::new("db", Terms::concurrent(1));
    db.max_wait_ms = Some(3_000);
    let mut world = World::with_limits(&[db]);
    world.ask(1, one());
    let patience = |n, patience| Acquire { patience, ..waiting(n, one()) };
    world.acquire(patience(2, Patience::For { wait_ms: 1_000 }));
    world.acquire(patience(3, Patience::Polled { poll_ttl_ms: 1_500 }));
    world.acquire(patience(4, Patience::Forever));
    live(&mut world, 1_000);
    assert_eq!(world.ended(2), Some(End::TimedOut));
    world.run(&Command::Ask { id: id(3), for_ms: 200 });
    live(&mut world, 1_699);
    assert!(world.waits(3), "asked about 1,699 ms ago");
    live(&mut world, 1);
    assert_eq!(world.ended(3), Some(End::Unattended));
    live(&mut world, 300);
    assert_eq!(world.ended(4), Some(End::TimedOut), "as long as the limit lets anybody wait");
    world.check_replay();
}

#[test]
fn a_longer_window_counts_what_is_known() {
    let mut world = window(9, 1_000, Counts::Runs);
    world.ask(1, one());
    world.release(1);
    live(&mut world, 400);
    let longer =
        Claim::inline("db", Terms { max: 2, refill: Refill::Window { ms: 5_000, counts: Counts::Runs } }, 1);
    world.ask(2, vec![longer.clone()]);
    world.ask(3, vec![longer]);
    assert_eq!(world.holding(1..=3), [2]);
    let known = world.state.key_view("db", 0).window_known_since;
    assert!(known.is_some_and(|since| since >= Time(world.now - 1_000)), "{known:?}");
    world.check_replay();
}

/// Many waiters behind all kinds of terms, stepped at every `step_ms`, or just when something is due: when
/// was who granted?
fn grants(step_ms: Option<u64>) -> Vec<(u128, u64)> {
    let refills = [
        Refill::Release,
        Refill::Window { ms: 730, counts: Counts::Starts },
        Refill::Window { ms: 410, counts: Counts::Runs },
        Refill::Decay { nano_per_second: 1_300_000_007 },
    ];
    let limits: Vec<_> =
        (0..4).map(|n| Limit::new(format!("l{n}"), Terms { max: 2, refill: refills[n] })).collect();
    let mut world = World::with_limits(&limits);
    let end = world.now + 12_000;
    for n in 0..40u128 {
        let claims = vec![
            Claim::limit(format!("l{}", n % 4), 1 + u32::from(n % 5 == 0)),
            Claim::limit(format!("l{}", n / 4 % 4), 1),
        ];
        let ttl_ms = Some(1_000 + 37 * (n as u64 % 11));
        let acquire = Acquire { ttl_ms, claim_ms: Some(600), rate: n % 3 == 0, ..waiting(n, claims) };
        world.acquire(acquire);
    }
    while world.now < end {
        let heartbeat = world.now / 1_000 * 1_000 + 1_000;
        let due = world.state.next_due().map_or(heartbeat, |due| due.0.max(world.now + 1).min(heartbeat));
        world.pass(step_ms.unwrap_or(due - world.now));
    }
    world.check_replay();
    let mut now = 0;
    let mut granted = Vec::new();
    for event in &world.log {
        match event {
            admit_kernel::Event::Clock(time) => now = time.0,
            admit_kernel::Event::TicketGranted { id, .. } => granted.push((id.as_u128(), now)),
            _ => {}
        }
    }
    granted
}

#[test]
fn stepping_when_something_is_due_is_as_good_as_every_millisecond() {
    let every_ms = grants(Some(1));
    assert!(every_ms.len() > 25, "{}", every_ms.len());
    assert_eq!(grants(None), every_ms);
    assert_eq!(grants(Some(700)), every_ms, "late ticks handle each timer at its own time");
}

#[test]
fn a_rate_foretells_its_grants_to_the_millisecond() {
    let mut world = window(5, 1_000, Counts::Starts);
    (0..5).for_each(|n| {
        world.ask(n, one());
        world.pass(70);
    });
    (5..40).for_each(|n| world.ask(n, one()));
    let mut expected = Vec::new();
    for n in 5..40 {
        let eta = world.state.ticket_view(id(n)).expect("it waits").eta;
        assert_eq!(eta.kind, EtaKind::Exact);
        expected.push((n, world.now + eta.in_ms.expect("it is exact")));
    }
    live(&mut world, 10_000);
    for (n, at) in expected {
        let lease =
            world.state.lease(id(n)).map(|lease| lease.granted_at.0).or(world.state.ended(id(n)).map(|_| at));
        assert!(lease.is_some_and(|granted| granted.abs_diff(at) <= 20), "{n}: {lease:?}, foretold {at}");
    }
}

#[test]
fn steady_holds_foretell_200_waits_within_a_fifth() {
    let mut world = limit(4, Refill::Release);
    let hold_ms = |n: u128| 900 + (n as u64 * 7_919) % 201;
    let mut ends: Vec<(u64, u128)> = Vec::new();
    let mut foretold: Vec<(u128, u64, u64)> = Vec::new();
    (0..240).for_each(|n| world.ask(n, one()));
    let mut errors = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    let start = world.now;
    while world.now < start + 70_000 && known.len() < 240 {
        for n in (0..240).filter(|n| world.holds(*n)).collect::<Vec<_>>() {
            if known.insert(n) {
                world.run(&Command::Ask { id: id(n), for_ms: 0 });
                ends.push((world.now + hold_ms(n), n));
                if let Some(&(_, at, asked)) = foretold.iter().find(|(other, ..)| *other == n) {
                    errors.push(world.now.abs_diff(at) * 1_000 / (at - asked).max(1));
                }
            }
        }
        let over: Vec<_> = ends.iter().filter(|(at, _)| *at <= world.now).map(|&(_, n)| n).collect();
        ends.retain(|(at, _)| *at > world.now);
        over.iter().for_each(|&n| world.release(n));
        if foretold.is_empty() && known.len() >= 40 {
            for n in (0..240).filter(|n| world.waits(*n)) {
                let eta = world.state.ticket_view(id(n)).expect("it waits").eta;
                assert_eq!(eta.kind, EtaKind::Estimate);
                foretold.push((n, world.now + eta.in_ms.expect("estimated"), world.now));
            }
            assert!(foretold.len() >= 195);
        }
        world.pass(10);
    }
    errors.sort_unstable();
    assert!(errors.len() >= 190, "{}", errors.len());
    assert!(errors[errors.len() / 2] <= 200, "median error {} per mille", errors[errors.len() / 2]);
}

#[test]
fn what_is_unknown_is_said_to_be() {
    let mut world = limit(1, Refill::Release);
    world.ask(1, one());
    world.ask(2, one());
    let eta = world.state.ticket_view(id(2)).expect("it waits").eta;
    assert_eq!((eta.in_ms, eta.kind), (None, EtaKind::Unknown), "{}", eta.reason);
}

#[test]
fn the_position_is_exact_in_a_queue_of_100_000() {
    let mut db = Limit::new("db", Terms::concurrent(1));
    db.max_len = 1_000_000;
    let mut world = World::with_limits(&[db]);
    (0..=100_000).for_each(|n| world.ask(n, one()));
    let position = |world: &World, n| world.state.ticket_view(id(n)).expect("it waits").position;
    assert_eq!(position(&world, 100_000), 100_000);
    (1..=1_000).for_each(|n| world.withdraw(n * 50));
    assert_eq!(position(&world, 100_000), 99_000);
    assert_eq!(position(&world, 50_001), 49_001);
    let restored = State::restore(world.state.snapshot());
    assert_eq!(restored.ticket_view(id(50_001)).map(|view| view.position), Some(49_001));
}

//! Many tenants, each with a key of its own beside one that all share: their queues differ, so each is tried for
//! itself. What that costs, who goes when, and that nobody is forgotten.

mod common;

use admit_kernel::{Claim, Command, Limit, MAX_TRIES, Terms};
use common::World;

const TENANTS: u128 = 10_000;
/// Leases on the tenants' own keys.
const BUSY: u128 = 100_000;
/// The lease on the shared key.
const FIRST: u128 = 1;

fn own(n: u128) -> Claim {
    Claim::inline(format!("tenant/{n}"), Terms::concurrent(1), 1)
}

/// All tenants wait for the shared key, oldest first; some of their own keys are in use.
fn waiting(is_busy: impl Fn(u128) -> bool) -> World {
    let mut world = World::with_limits(&[Limit::new("shared", Terms::concurrent(1))]);
    world.ask(FIRST, vec![Claim::limit("shared", 1)]);
    for n in (1..=TENANTS).filter(|n| is_busy(*n)) {
        world.ask(BUSY + n, vec![own(n)]);
    }
    for n in 1..=TENANTS {
        world.ask(1_000_000 + n, vec![Claim::limit("shared", 1), own(n)]);
    }
    world
}

fn tenant(n: u128) -> u128 {
    1_000_000 + n
}

/// Works off what steps left; gives how many steps that took.
fn settle(world: &mut World) -> u32 {
    let mut steps = 0;
    while world.state.next_due().is_some_and(|due| due.0 <= world.now) {
        world.run(&Command::Tick);
        steps += 1;
    }
    steps
}

#[test]
fn a_slot_of_the_shared_key_goes_to_the_next_at_once() {
    let mut world = waiting(|_| false);
    world.release(FIRST);
    for n in 1..TENANTS {
        assert!(world.holds(tenant(n)), "{n} is the next");
        world.release(tenant(n));
    }
    assert!(world.holds(tenant(TENANTS)));
    assert_eq!(settle(&mut world), 0, "nothing was left for later");
}

#[test]
fn the_one_that_can_go_is_found_behind_all_that_cannot() {
    let mut world = waiting(|n| n < TENANTS);
    let events = world.log.len();
    world.release(FIRST);
    let steps = settle(&mut world);
    let events = world.log.len() - events;
    assert!(world.holds(tenant(TENANTS)), "its own key is free, unlike those of all before it");
    assert!(u128::from(steps) <= TENANTS / u128::from(MAX_TRIES / 2) + 1, "a try each: {steps} steps");
    assert!(events as u128 <= TENANTS + 10, "a move each: {events} events");
    // Whoever was passed over waits at its own key now; as soon as that is free it goes by its age again.
    for n in (1..TENANTS).rev() {
        world.release(BUSY + n);
        settle(&mut world);
    }
    world.release(tenant(TENANTS));
    for n in 1..TENANTS {
        settle(&mut world);
        assert!(world.holds(tenant(n)), "{n} is the next");
        world.release(tenant(n));
    }
    assert_eq!(world.state.totals().tickets, 0);
    world.check_replay();
}

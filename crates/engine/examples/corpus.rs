//! Prints a log of a format, a little of everything, with the state that it comes to. What it printed for a format is
//! kept in `tests/corpus` and has to be read for ever: `cargo run -p admit-engine --example corpus -- 2`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use admit_engine::{Batch, Clock, Core, Durability, Op, Options};
use admit_kernel::{
    Acquire, Claim, Command, Counts, Limit, Mode, OLDEST_FORMAT, OnFull, Part, Patience, Refill, Terms, Time,
};
use admit_store::{SqliteStore, Store};
use uuid::Uuid;

const BEGAN_MS: u64 = 1_700_000_000_000;

#[derive(Clone)]
struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn wall_ms(&mut self) -> u64 {
        BEGAN_MS + self.0.load(SeqCst)
    }
    fn mono_ms(&mut self) -> u64 {
        self.0.load(SeqCst)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let format = std::env::args().nth(1).map_or(Ok(OLDEST_FORMAT), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path(), Durability::Normal, &[])?;
    let hands = Hands(Arc::default());
    let mut core = Core::open(store, hands.clone(), Options { format, ..Options::new(1) })?;
    let mut batch = Batch::default();
    for (pass_ms, commands) in story() {
        hands.0.fetch_add(pass_ms, SeqCst);
        let ops: Vec<Op> = commands.into_iter().map(Op::new).collect();
        core.run(&ops, &mut |_| false, &mut batch);
        batch.answers.drain(..).collect::<Result<Vec<_>, _>>()?;
    }
    core.snapshot()?;
    for record in core.store().records_after(0, usize::MAX)? {
        println!("record {} {}", record.format, hex(&record.payload));
    }
    let snapshot = core.store().latest_snapshot()?.ok_or("no snapshot")?;
    println!("snapshot {} {}", snapshot.format, hex(&snapshot.bytes));
    println!("digest {:016x}", core.state()?.digest());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Commands, and how much time passes before them.
fn story() -> Vec<(u64, Vec<Command>)> {
    let id = |n: u128| Uuid::from_u128(n);
    let ask = |n: u128, claims: Vec<Claim>, patience| Acquire { patience, ..Acquire::new(id(n), claims) };
    let acquire = |acquire: Acquire| Command::Acquire(Box::new(acquire));
    let set = |limit: Limit| Command::SetLimit { limit: Box::new(limit), if_revision: None };
    let release = |n| Command::Release { id: id(n), part: Part::All, counts: true };
    let pause = |until| Command::Pause { name: "db".into(), until, if_version: None };
    let window = Terms { max: 2, refill: Refill::Window { ms: 5_000, counts: Counts::Runs } };
    let decay = Terms { max: 3, refill: Refill::Decay { nano_per_second: 100_000_000 } };
    let db = || vec![Claim::limit("db", 1)];
    let both = vec![Claim::limit("db", 1), Claim::inline("tenant/1", Terms::concurrent(1), 1)];
    vec![
        (
            0,
            vec![
                set(Limit::new("db", Terms::concurrent(2))),
                set(Limit { patterns: vec!["tenant/*".into()], ..Limit::new("windowed", window) }),
                set(Limit::new("rate", decay)),
                set(Limit { mode: Mode::Observe, ..Limit::new("watched", Terms::concurrent(1)) }),
            ],
        ),
        (
            10,
            vec![
                acquire(Acquire { holder: Some("somebody".into()), ..ask(1, db(), Patience::None) }),
                acquire(ask(2, db(), Patience::Forever)),
                acquire(ask(3, db(), Patience::For { wait_ms: 3_000 })),
                acquire(Acquire {
                    priority: 5,
                    group: Some("g".into()),
                    ..ask(4, db(), Patience::Polled { poll_ttl_ms: 60_000 })
                }),
                acquire(ask(5, both.clone(), Patience::Forever)),
                acquire(Acquire { rate: true, ..ask(6, vec![Claim::limit("rate", 2)], Patience::None) }),
            ],
        ),
        (
            500,
            vec![
                Command::Renew { id: id(1), ttl_ms: Some(2_000) },
                release(2),
                Command::Ask { id: id(4), for_ms: 0 },
            ],
        ),
        (500, vec![pause(Some(Time(BEGAN_MS + 5_000))), acquire(ask(7, db(), Patience::Forever))]),
        (1_500, vec![Command::Tick]),
        (1_000, vec![pause(None), Command::Withdraw { id: id(7) }, release(4)]),
        (
            100,
            vec![
                acquire(Acquire { on_full: OnFull::CancelOldest, ..ask(8, both, Patience::Forever) }),
                acquire(ask(9, vec![Claim::limit("watched", 2)], Patience::None)),
                set(Limit::new("db", Terms::concurrent(1))),
                Command::SetUsage { name: "rate".into(), id: id(10), used: 3 },
            ],
        ),
        (100, vec![release(5), release(8), Command::RaiseEpoch, Command::SetClockOffset { ms: -7 }]),
        (4_000, vec![Command::Tick, Command::Reset { name: "watched".into(), if_version: None }]),
        (100, vec![Command::RemoveLimit { name: "watched".into(), if_revision: None }]),
    ]
}

//! What PostgreSQL itself refuses: room, an order of transactions, a connection. Nothing of it loses anything.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use admit_engine::{Config, Engine, Error, Home, PostgresConfig};
use admit_kernel::{Command, Outcome, Patience};
use admit_testing::{Postgres, shared};
use pollster::block_on;
use support::{execute, hold, id, is_held, release, request, set_limit, try_acquire, until};

/// A node whose connections are called like its schema, with further options of the URL.
fn node_at(postgres: &Postgres, schema: &str, options: &str) -> Engine {
    let url = format!("{}&application_name={schema}{options}", postgres.url(schema));
    let database = PostgresConfig::parse(&url).unwrap();
    Engine::open(Config::at(Home::Postgres(database))).unwrap()
}

/// Breaks every connection of the nodes of a schema.
fn terminate(postgres: &Postgres, schema: &str) {
    let sql =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{schema}'");
    postgres.sql("public", &sql);
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Unavailable { retry_in_ms, .. } if *retry_in_ms <= 1_000)
}

/// Puts what a table has out of line where every write finds a full disk: no small file system has to be mounted for
/// that, which only root may.
fn fill_the_disk_of(postgres: &Postgres, schema: &str, table: &str) {
    let toast = format!("(SELECT reltoastrelid FROM pg_class WHERE oid = '{table}'::regclass)");
    let sql = format!("SELECT pg_relation_size({toast}), pg_relation_filepath({toast})");
    let found = postgres.sql(schema, &sql);
    let (size, file) = found.split_once('|').unwrap();
    assert_eq!(size, "0", "{table} has something there already");
    postgres.sql(schema, &format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; ln -sf /dev/full {file}'"));
}

#[test]
fn a_database_without_room_is_read_and_written_again_when_there_is_some() {
    let postgres = Postgres::start("");
    let engine = node_at(&postgres, "admit", "");
    execute(&engine, set_limit("db", 1));
    hold(&engine, 1);
    // What is long goes out of line as it is; the log's short records have room in their table's first page.
    postgres.sql("admit", "ALTER TABLE log ALTER payload SET STORAGE EXTERNAL");
    postgres.sql("admit", "CHECKPOINT");
    fill_the_disk_of(&postgres, "admit", "log");
    fill_the_disk_of(&postgres, "admit", "snapshot_parts");
    // Nobody has the files open from before.
    postgres.stop("fast");
    postgres.start_again("");
    until("it is back", || block_on(engine.execute(Command::Tick)).is_ok());

    let long = || (0..40).map(|n| set_limit(&format!("{n} {}", "x".repeat(400)), 1)).collect::<Vec<_>>();
    let error = block_on(engine.execute_all(long())).unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    assert!(error.to_string().contains("no room") && error.to_string().contains("No space left"), "{error}");
    assert!(is_held(&engine, 1), "reading goes on");
    until("its room is looked for", || {
        let error = block_on(engine.execute(release(1))).unwrap_err();
        assert!(is_unavailable(&error) && error.to_string().contains("no room"), "{error}");
        block_on(engine.stats()).unwrap().reloads > 0
    });
    assert!(is_held(&engine, 1), "what was refused was not done");

    postgres
        .run("psql", &["-X", "-q", "-c", "VACUUM FULL admit.log", "-c", "VACUUM FULL admit.snapshot_parts"]);
    until("there is room again", || block_on(engine.execute_all(long())).is_ok());
    assert!(is_held(&engine, 1));
    execute(&engine, release(1));
    hold(&engine, 2);
}

#[test]
fn a_batch_that_could_not_be_serialized_is_tried_again_once() {
    let (postgres, schema) = (shared(), shared().new_schema());
    let engine = node_at(postgres, &schema, "");
    execute(&engine, set_limit("db", 100));
    postgres.sql(
        &schema,
        "CREATE SEQUENCE refusals;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('refusals') <= 1 THEN
                 RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    hold(&engine, 1);
    postgres.sql(&schema, "ALTER SEQUENCE refusals MINVALUE -10 RESTART WITH 0");
    let error = block_on(engine.execute(Command::Acquire(Box::new(request(2, Patience::None))))).unwrap_err();
    assert!(is_unavailable(&error) && error.to_string().contains("could not serialize"), "{error}");
    until("it goes on", || block_on(engine.execute(Command::Tick)).is_ok());
    assert!(is_held(&engine, 1) && !is_held(&engine, 2));
    hold(&engine, 2);
}

#[test]
fn nodes_whose_database_serializes_everything_get_along() {
    let (postgres, schema) = (shared(), shared().new_schema());
    let options = "&options=-c%20default_transaction_isolation%3Dserializable";
    let nodes = [node_at(postgres, &schema, options), node_at(postgres, &schema, options)];
    execute(&nodes[0], set_limit("db", 100));
    std::thread::scope(|scope| {
        for (node, first) in nodes.iter().zip([0, 1_000]) {
            scope.spawn(move || {
                for n in first..first + 50 {
                    hold(node, n);
                    execute(node, release(n));
                }
            });
        }
    });
}

#[test]
fn idle_connections_that_were_broken_cost_nobody_an_answer() {
    let (postgres, schema) = (shared(), shared().new_schema());
    let engine = node_at(postgres, &schema, "");
    execute(&engine, set_limit("db", 1));
    hold(&engine, 1);
    terminate(postgres, &schema);
    execute(&engine, release(1));
    hold(&engine, 2);
    terminate(postgres, &schema);
    assert!(is_held(&engine, 2), "a read finds a new connection, too");
    terminate(postgres, &schema);
    block_on(engine.nodes()).expect("so does a query");
}

#[test]
fn connections_that_break_at_any_moment_lose_and_double_nothing() {
    let (postgres, schema) = (shared(), shared().new_schema());
    let nodes = [node_at(postgres, &schema, ""), node_at(postgres, &schema, "")];
    execute(&nodes[0], set_limit("db", 1_000_000));
    let stop = AtomicBool::new(false);
    let told: Vec<(u128, bool)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (node, stop) = (&nodes[client % 2], &stop);
                scope.spawn(move || {
                    let ids = (1_000_000 * client as u128..).take_while(|_| !stop.load(SeqCst));
                    ids.map(|n| match block_on(node.acquire(request(n, Patience::None), 0)) {
                        Ok(outcome) => {
                            assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
                            (n, true)
                        }
                        Err(error) => {
                            assert!(is_unavailable(&error), "{error}");
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            (n, false)
                        }
                    })
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        for _ in 0..10 {
            let seq = || block_on(nodes[0].stats()).unwrap().seq;
            let before = seq();
            until("they go on", || seq() > before + 20);
            terminate(postgres, &schema);
        }
        stop.store(true, SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    until("both are back", || nodes.iter().all(|node| block_on(node.execute(Command::Tick)).is_ok()));
    for node in &nodes {
        let granted: Vec<_> = told.iter().filter(|(_, granted)| *granted).map(|(n, _)| id(*n)).collect();
        let lost =
            move |state: &admit_kernel::State| granted.iter().find(|id| state.lease(**id).is_none()).copied();
        assert_eq!(block_on(node.read(lost)).unwrap(), None, "what was acknowledged is there");
    }
    // What was not can be asked for again, and is granted once.
    let (n, _) = told.iter().rfind(|(_, granted)| !granted).copied().unwrap_or(told[0]);
    let (one, other) = (try_acquire(&nodes[0], n), try_acquire(&nodes[1], n));
    let (Outcome::Granted(one), Outcome::Granted(other)) = (&one, &other) else {
        panic!("{one:?} {other:?}")
    };
    assert_eq!(one.token, other.token);
}

//! Tokens that are made and revoked through one server count on every other.

use admit_client::{Client, Role, TokenRequest};
use admit_testing::shared;

use crate::Cluster;
use crate::support::wait_until;

#[test]
fn a_token_of_one_server_opens_the_others_until_it_is_revoked_through_one() {
    let cluster = Cluster::start(shared());
    let [one, other, third] = cluster.clients();
    let ask = |name: &str| TokenRequest { name: name.into(), role: Role::Acquire, expires_in_ms: None };
    let made = one.create_token(&ask("ci")).unwrap();
    let status = |n: usize| {
        let client = Client::new(&cluster.nodes[n].url, Some(&made.token)).unwrap();
        client.limits().err().and_then(|error| error.status())
    };
    assert_eq!(status(0), None);
    wait_until("the others know it", || status(1).is_none() && status(2).is_none());
    assert_eq!(
        third.create_token(&ask("ci")).unwrap_err().status(),
        Some(409),
        "the name is taken everywhere"
    );
    other.revoke_token("ci").unwrap();
    assert_eq!(status(1), Some(401));
    wait_until("it opens nothing any more", || status(0) == Some(401) && status(2) == Some(401));
    third.create_token(&ask("ci")).expect("the name is free again");
}

#[test]
fn of_two_servers_that_make_tokens_of_one_name_at_once_one_does() {
    let cluster = Cluster::start(shared());
    let clients = cluster.clients();
    for round in 0..10 {
        let made: Vec<_> = std::thread::scope(|scope| {
            let asking = clients.each_ref().map(|client| {
                let name = format!("ci {round}");
                scope.spawn(move || {
                    client.create_token(&TokenRequest { name, role: Role::Acquire, expires_in_ms: None })
                })
            });
            asking.into_iter().filter_map(|asking| asking.join().unwrap().ok()).collect()
        });
        assert_eq!(made.len(), 1, "{made:?}");
        let client = Client::new(&cluster.nodes[0].url, Some(&made[0].token)).unwrap();
        wait_until("it opens what it should", || client.limits().is_ok());
    }
}

//! The way to the servers: any of them may be asked, and the one that answers is asked next time, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Error;
use crate::server::{Answer, Call, Effect, Server};

/// How long an answer may take beyond what the call itself asks the server to wait, unless the caller says.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Servers of one client: each gets its share of a call's time, and a log has hardly more nodes.
const MAX_SERVERS: usize = 8;

/// A client of the server or servers of one log. Cheap to clone; clones share their connections, and which
/// server they ask.
#[derive(Debug, Clone)]
pub struct Client {
    servers: Arc<Servers>,
    token: Option<String>,
    timeout: Duration,
}

#[derive(Debug)]
struct Servers {
    all: Vec<Server>,
    /// The place of the one that is asked first.
    current: AtomicUsize,
}

/// Which calls are made again through another server where the first may have done them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Those whose second time is as good as the first.
    Safe,
    /// Those that ask for a lease: the same id gives the same one. But a server that grants one to a caller who has
    /// given up gives it back, so nobody gives up on one that may be about to.
    UnlessPending,
    /// None: the caller is told.
    Never,
}

impl Repeat {
    fn allows(self, effect: Effect) -> bool {
        match self {
            Repeat::Safe => true,
            Repeat::UnlessPending => effect < Effect::Pending,
            Repeat::Never => effect == Effect::None,
        }
    }
}

impl Client {
    /// A client of the server at `urls` (`http://HOST:PORT` or `https://HOST:PORT`), or of several that share
    /// their log, separated by commas; with an access token where they want one. Nothing is sent yet.
    /// Certificates are checked against the system's trust store (`SSL_CERT_FILE` names another).
    ///
    /// A server that cannot be reached, or answers 502 to 504, is left for the next one. A call is made again
    /// only where nothing can have come of it, or where twice is as good as once: those that read, and those
    /// about leases and tickets, which have ids. Who asks for a lease does not leave a server that is slow.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn new(urls: &str, token: Option<&str>) -> Result<Client, Error> {
        let invalid = |reason: String| Error::InvalidUrl { url: urls.to_owned(), reason };
        let parts: Vec<&str> = urls.split(',').map(str::trim).collect();
        if parts.len() > MAX_SERVERS {
            return Err(invalid(format!(
                "it names {} servers, and at most {MAX_SERVERS} may be",
                parts.len()
            )));
        }
        if parts.len() > 1 && parts.contains(&"") {
            return Err(invalid("an address is missing beside one of its commas".to_owned()));
        }
        if token.is_some_and(|token| token.bytes().any(|b| !b.is_ascii_graphic())) {
            return Err(invalid("the token for it has a space or a sign that no token has".to_owned()));
        }
        let all = parts.into_iter().map(Server::new).collect::<Result<_, _>>()?;
        let servers = Arc::new(Servers { all, current: AtomicUsize::new(0) });
        Ok(Client { servers, token: token.map(str::to_owned), timeout: ANSWER_TIMEOUT })
    }

    /// The same client, over the same connections, that gives up sooner or later: an answer may take
    /// `timeout` beyond what the call itself asks the server to wait, however many servers are asked.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout, ..self.clone() }
    }

    /// The address of the server that is asked first, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.servers.all[self.servers.current.load(Relaxed)].url
    }

    /// How many servers it knows.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.servers.all.len()
    }

    /// Makes a call that a server may take `wait_ms` to answer, through one server after the other until one
    /// answers, each at most once. `call` makes it for as many milliseconds as are left of the wait.
    pub(crate) fn call<'a>(
        &self,
        wait_ms: u64,
        repeat: Repeat,
        call: impl Fn(u64) -> Call<'a>,
    ) -> Result<Answer, Error> {
        let Servers { all, current } = &*self.servers;
        let (begun, wait, first) = (Instant::now(), Duration::from_millis(wait_ms), current.load(Relaxed));
        let (mut tried, mut effect, mut said) = (0, Effect::None, None::<Error>);
        loop {
            let wait_left = wait.saturating_sub(begun.elapsed());
            let slack = (wait + self.timeout).saturating_sub(begun.elapsed() + wait_left);
            // Who does not answer must leave time for those that are asked after it.
            let share = match repeat {
                Repeat::Safe => slack / u32::try_from(all.len() - tried).unwrap_or(u32::MAX),
                Repeat::UnlessPending | Repeat::Never => slack,
            };
            let at = (first + tried) % all.len();
            let wait_left_ms = u64::try_from(wait_left.as_millis()).unwrap_or(u64::MAX).max(wait_ms.min(1));
            let failed = match all[at].send(call(wait_left_ms), self.token.as_deref(), wait_left + share) {
                Err(failed) if is_for_another(&failed.error) => failed,
                answer => {
                    current.store(at, Relaxed);
                    return answer.map_err(|failed| failed.error);
                }
            };
            // Unless another thread has found one that answers meanwhile.
            let _ = current.compare_exchange(at, (at + 1) % all.len(), Relaxed, Relaxed);
            tried += 1;
            effect = effect.max(failed.effect);
            let error = match said {
                None => failed.error,
                Some(before) => before.nor(failed.error),
            };
            // What waits there has an end of its own, which is past.
            let is_over = wait_ms > 0 && effect > Effect::None && begun.elapsed() >= wait;
            let is_spent = begun.elapsed() >= wait + self.timeout;
            if tried == all.len() || is_over || is_spent || !repeat.allows(effect) {
                return Err(error);
            }
            said = Some(error);
        }
    }
}

/// Whether another server may answer where one said this.
fn is_for_another(error: &Error) -> bool {
    error.is_away() || matches!(error, Error::Setup { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_separated_by_commas_and_each_is_checked() {
        let check = |urls: &str, expect: Result<usize, &str>| match (Client::new(urls, None), expect) {
            (Ok(client), Ok(count)) => assert_eq!(client.servers.all.len(), count, "{urls}"),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{urls}: {error}"),
            (given, _) => panic!("{urls}: {given:?}"),
        };
        check("http://a:1", Ok(1));
        check("http://a:1,https://b:2, http://c:3/", Ok(3));
        check("http://a:1,b:2", Err("'b:2' is not an address of a server"));
        check("http://a:1 http://b:2", Err("'http://a:1 http://b:2' is not"));
        check("http://a:1,", Err("missing beside one of its commas"));
        check(&["http://a:1"; 9].join(","), Err("it names 9 servers, and at most 8 may be"));
    }
}

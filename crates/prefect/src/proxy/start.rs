//! Looking at the server behind before this one stands before it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use axum::http::HeaderMap;

use super::merge::LIMITS;
use super::upstream::{Link, Upstream};
use crate::app::Prefect;
use crate::json::Json;
use crate::limits::Look;

/// Why this server cannot stand before that one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{upstream} is where this server itself listens; name the Prefect server that is to be behind it")]
pub struct IsItself {
    upstream: Upstream,
}

impl Upstream {
    /// Whether it is not the listener at `own`.
    ///
    /// # Errors
    /// When it is.
    pub fn is_not(&self, own: SocketAddr) -> Result<(), IsItself> {
        if self.host_and_port().1 != own.port() {
            return Ok(());
        }
        // A name that is not known yet may be by the time it is needed; the way of a request shows loops, too.
        let Ok(mut addresses) = self.host_and_port().to_socket_addrs() else { return Ok(()) };
        if addresses.any(|address| leads_to(address, own)) {
            return Err(IsItself { upstream: self.clone() });
        }
        Ok(())
    }
}

fn leads_to(address: SocketAddr, own: SocketAddr) -> bool {
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let same_ip = address.ip() == own.ip()
        || (own.ip().is_unspecified() && is_here(address.ip()))
        || (address.ip().is_unspecified() && own.ip().is_loopback());
    same_ip && address.port() == own.port()
}

impl Prefect {
    /// Says what an operator has to know of the server behind: that it has limits of names that are here too, which
    /// nobody reaches any more; or that this is not known, as it does not answer, or only those whom it knows.
    pub async fn look_behind(&self) {
        let Some(behind) = self.options.behind.clone() else { return };
        let link = Link::new(behind);
        let upstream = link.upstream();
        let behind = match link.list(LIMITS, &HeaderMap::new()).await {
            Ok(behind) => behind,
            Err(failure) => {
                tracing::warn!(
                    %upstream,
                    cause = %failure,
                    "the Prefect server behind did not say what limits it has; if some have names of limits that are \
                     here, too, only those here are in force"
                );
                return;
            }
        };
        let name = |row: &Json| row.get(LIMITS.key)?.as_text().map(Into::into);
        for shown in
            self.limits(behind.iter().filter_map(name).collect(), Look::Terms).await.unwrap_or_default()
        {
            tracing::warn!(
                %upstream,
                limit = &*shown.limit.name,
                "the Prefect server behind has a limit of this name, too; the one here is in force, delete the other"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_does_not_stand_before_itself() {
        let check = |upstream: &str, own: &str, expect: bool| {
            let upstream: Upstream = upstream.parse().unwrap();
            assert_eq!(upstream.is_not(own.parse().unwrap()).is_err(), expect, "{upstream} {own}");
        };
        check("http://127.0.0.1:4200", "127.0.0.1:4200", true);
        check("http://localhost:4200/api", "127.0.0.1:4200", true);
        check("http://127.0.0.1:4200", "0.0.0.0:4200", true);
        check("http://[::1]:4200", "[::]:4200", true);
        check("http://127.0.0.1:4201", "127.0.0.1:4200", false);
        check("http://10.0.0.1:4200", "127.0.0.1:4200", false);
    }
}

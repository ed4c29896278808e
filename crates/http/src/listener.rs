//! A listener: an address that is ours alone, and the threads that serve it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::sync::mpsc;

use crate::front::Front;
use crate::tls::Tls;
use crate::worker::{Order, Worker};
use crate::{
    Access, Connections, Hosts, MAX_CONNECTIONS, MAX_HANDOVER, MAX_WORKERS, Shutdown, TlsError, TlsFiles,
};

/// Connections that the kernel queues before they are accepted.
const BACKLOG: i32 = 1_024;
/// How long the acceptor pauses when no file descriptor is free.
const NO_FILES_PAUSE: Duration = Duration::from_millis(20);
/// When the kernel asks whether a silent peer is still there, and how often: a client that vanished while it
/// waits is noticed within a minute or so.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// What a listener should be.
#[derive(Clone)]
pub struct ListenerConfig {
    /// What it is called: in logs, in the audit, in the names of its threads.
    pub name: &'static str,
    /// Where it listens; port 0 picks a free one.
    pub address: SocketAddr,
    /// Its certificate; none: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Names it answers to besides loopback's and its address; none: any Host and Origin (a public gateway).
    pub allow_hosts: Option<Vec<String>>,
    /// Who may use it.
    pub access: Access,
    /// How many connections it keeps; one more closes the one that was idle for longest.
    pub max_connections: usize,
    /// Threads that serve it, one runtime each.
    pub workers: usize,
}

impl ListenerConfig {
    /// A listener on `address` with the usual bounds and a worker per core.
    #[must_use]
    pub fn new(name: &'static str, address: SocketAddr, access: Access) -> ListenerConfig {
        ListenerConfig {
            name,
            address,
            tls: None,
            allow_hosts: Some(Vec::new()),
            access,
            max_connections: MAX_CONNECTIONS,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS),
        }
    }
}

/// Why a listener cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error(
        "{name}: the address {address} is taken by another process; stop that, or choose another address"
    )]
    Taken {
        /// The listener.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("{name}: cannot listen on {address}: {reason}")]
    Bind {
        /// The listener.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
    /// Others than this machine could reach it, and nothing would ask them who they are.
    #[error(
        "{name}: {address} can be reached from other machines, and no access token exists; \
         make one with `admit token create --role admin --name NAME`, or listen on 127.0.0.1"
    )]
    NoTokens {
        /// The listener.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The certificate cannot be used.
    #[error("{name}: {reason}")]
    Tls {
        /// The listener.
        name: &'static str,
        /// What is wrong.
        reason: Box<TlsError>,
    },
    /// A thread or its runtime cannot start.
    #[error("{name}: cannot start its threads: {reason}")]
    Thread {
        /// The listener.
        name: &'static str,
        /// What the system says.
        reason: io::Error,
    },
}

/// A bound address that nobody serves yet; clients that connect wait.
pub struct Listener {
    config: ListenerConfig,
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
    hosts: Option<Hosts>,
}

impl Listener {
    /// Binds the address, which must be free, and loads the certificate.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(mut config: ListenerConfig) -> Result<Listener, ListenError> {
        let (name, address) = (config.name, config.address);
        if !address.ip().is_loopback() && config.access.lacks_tokens() {
            return Err(ListenError::NoTokens { name, address });
        }
        let tls = match config.tls.clone().map(Tls::load).transpose() {
            Ok(tls) => tls.map(Arc::new),
            Err(reason) => return Err(ListenError::Tls { name, reason: Box::new(reason) }),
        };
        // Half of what the process may open, as the store and other listeners need some too.
        config.max_connections = config.max_connections.clamp(1, (raise_open_files() / 2).max(1));
        config.workers = config.workers.clamp(1, MAX_WORKERS);
        let failed = |reason: io::Error| match reason.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { name, address },
            _ => ListenError::Bind { name, address, reason },
        };
        let socket = listen(address).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let hosts = config.allow_hosts.as_ref().map(|names| Hosts::new(bound, names));
        Ok(Listener { config, socket, address: bound, tls, connections: Arc::default(), hosts })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.config.name
    }

    /// The address that was bound, with the port that was picked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The counts of its connections, also once it is served.
    #[must_use]
    pub fn connections(&self) -> Arc<Connections> {
        self.connections.clone()
    }

    /// The hosts that it answers for, which can be changed while it is served; none: any.
    #[must_use]
    pub fn hosts(&self) -> Option<Hosts> {
        self.hosts.clone()
    }

    /// Serves until `shutdown`. Every worker calls `router` once and shares nothing with the others.
    ///
    /// # Errors
    /// When a thread cannot start.
    pub fn serve(
        self,
        router: impl Fn() -> Router + Send + Sync + 'static,
        shutdown: &Shutdown,
    ) -> Result<Serving, ListenError> {
        let name = self.config.name;
        let failed = |reason| ListenError::Thread { name, reason };
        let router = Arc::new(router);
        let mut threads = Vec::new();
        let mut workers = Vec::new();
        for number in 0..self.config.workers {
            let (orders, queue) = mpsc::channel(MAX_HANDOVER);
            let (router, hosts, access) = (router.clone(), self.hosts.clone(), self.config.access.clone());
            let (tls, connections, shutdown) = (self.tls.clone(), self.connections.clone(), shutdown.clone());
            let max_connections = self.config.max_connections;
            threads.push(
                spawn(format!("{name}-{number}"), move || async move {
                    let front = Front::new(name, hosts, access, router());
                    Worker::new(front, tls, connections, max_connections).run(queue, shutdown).await;
                })
                .map_err(failed)?,
            );
            workers.push(orders);
        }
        let acceptor = Acceptor { name, connections: self.connections, workers, next: 0 };
        let (socket, shutdown) = (self.socket, shutdown.clone());
        threads.push(
            spawn(format!("{name}-accept"), move || async move {
                if let Err(error) = acceptor.run(socket, &shutdown).await {
                    tracing::error!(listener = name, %error, "the listener cannot go on");
                }
            })
            .map_err(failed)?,
        );
        Ok(Serving { threads })
    }
}

/// A listener at work.
pub struct Serving {
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Waits until it has stopped, after its [`Shutdown`]; blocks for at most [`crate::DRAIN_TIMEOUT`] then.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of a listener panicked");
            }
        }
    }
}

fn spawn<F: Future<Output = ()>>(
    name: String,
    work: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name).spawn(move || runtime.block_on(work()))
}

/// Gives every new connection to the next worker. One thread accepts for all, so the address needs no
/// `SO_REUSEPORT`: the system itself keeps a second server out, and the workers' shares are equal, which
/// hashing makes them only with many connections. It costs one hand-over per connection, not per request.
struct Acceptor {
    name: &'static str,
    connections: Arc<Connections>,
    workers: Vec<mpsc::Sender<Order>>,
    next: usize,
}

impl Acceptor {
    async fn run(mut self, socket: TcpListener, shutdown: &Shutdown) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = shutdown.triggered() => return Ok(()),
            };
            // The worker's own reactor is to watch the connection, not this thread's.
            match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => self.hand_over(stream, peer).await,
                Err(error) if no_files(&error) => {
                    tracing::warn!(listener = self.name, %error, "no file is left for a new connection; closing idle ones");
                    for worker in &self.workers {
                        let _ = worker.try_send(Order::Evict);
                    }
                    tokio::time::sleep(NO_FILES_PAUSE).await;
                }
                // The client was gone before it was accepted, or the network failed it: its affair.
                Err(error) => tracing::debug!(listener = self.name, %error, "accept failed"),
            }
        }
    }

    async fn hand_over(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.connections.accepted.fetch_add(1, Relaxed);
        let socket = SockRef::from(&stream);
        // Only a client that is gone already makes these fail.
        if stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&KEEPALIVE)).is_err() {
            return;
        }
        // The next worker that has room; when none has, new clients wait where the system queues them.
        let mut order = Order::Serve(stream, peer);
        for _ in 0..self.workers.len() {
            self.next = (self.next + 1) % self.workers.len();
            match self.workers[self.next].try_send(order) {
                Ok(()) => return,
                Err(refused) => order = refused.into_inner(),
            }
        }
        // A worker that is gone has been told to stop, as this thread will be.
        let _ = self.workers[self.next].send(order).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the server before us that are still in TIME_WAIT must not keep the address; one that
    // still listens does.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn no_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Raises the number of files that this process may open to the most it may ask for; says how many that is.
fn raise_open_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the call to fill in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1_024;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: `raised` is a valid rlimit that the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

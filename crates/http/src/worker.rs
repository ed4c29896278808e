//! A worker: one thread, one runtime, its own connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::{Activity, Answer, Observed, Place};
use crate::front::Front;
use crate::tls::Tls;
use crate::{Connections, DRAIN_TIMEOUT, MAX_BUFFER_BYTES, MAX_HEAD_BYTES, Shutdown};

/// How often a worker looks for connections that take too long: one look at all of them instead of a timer
/// for each, renewed with each request.
const SWEEP: Duration = Duration::from_secs(1);

/// What the acceptor asks of a worker.
pub(crate) enum Order {
    /// Serve this connection.
    Serve(TcpStream, SocketAddr),
    /// Close the connection that was idle for longest.
    Evict,
}

/// The connections of a worker that may be closed. Only this worker's thread takes the lock.
#[derive(Default)]
struct Registry {
    known: Mutex<HashMap<u64, Arc<Activity>>>,
}

impl Registry {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<u64, Arc<Activity>>) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the connection that was idle for longest; false: none was idle.
    fn evict(&self) -> bool {
        self.with(|known| {
            let idle = known.values().filter_map(|activity| Some((activity.idle_since()?, activity)));
            let Some((_, oldest)) = idle.min_by_key(|(since, _)| *since) else { return false };
            oldest.asked_to_go.store(true, Relaxed);
            oldest.wake.notify_one();
            true
        })
    }
}

/// Takes a connection out of the registry when its task ends, however it ends.
struct Registered {
    registry: Arc<Registry>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.with(|known| known.remove(&self.id));
    }
}

pub(crate) struct Worker {
    front: Arc<Front>,
    http: http1::Builder,
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
    max_connections: usize,
    registry: Arc<Registry>,
    tasks: JoinSet<()>,
    next_id: u64,
}

impl Worker {
    pub(crate) fn new(
        front: Front,
        tls: Option<Arc<Tls>>,
        connections: Arc<Connections>,
        max_connections: usize,
    ) -> Worker {
        let mut http = http1::Builder::new();
        // The sweeper keeps the time of heads and of pauses; hyper's own timer cannot tell them apart.
        http.timer(TokioTimer::new()).header_read_timeout(None);
        http.max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_BUFFER_BYTES);
        Worker {
            front: Arc::new(front),
            http,
            tls,
            connections,
            max_connections,
            registry: Arc::default(),
            tasks: JoinSet::new(),
            next_id: 0,
        }
    }

    /// Serves what the acceptor hands over until `shutdown`, then finishes what is under way.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Order>, shutdown: Shutdown) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = shutdown.triggered();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                order = queue.recv() => match order {
                    Some(Order::Serve(stream, peer)) => self.take(stream, peer),
                    Some(Order::Evict) => {
                        self.evict();
                    }
                    // The acceptor has stopped; the shutdown that stopped it follows.
                    None => break,
                },
                _ = sweep.tick() => self.sweep(),
                Some(_) = self.tasks.join_next() => {}
                () = &mut stop => break,
            }
        }
        self.drain().await;
    }

    fn evict(&self) -> bool {
        let evicted = self.registry.evict();
        if evicted {
            self.connections.evicted.fetch_add(1, Relaxed);
        }
        evicted
    }

    fn sweep(&self) {
        self.registry.with(|known| {
            for activity in known.values().filter(|activity| activity.is_overdue()) {
                activity.wake.notify_one();
            }
        });
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.connections.open() >= self.max_connections && !self.evict() {
            self.connections.refused.fetch_add(1, Relaxed);
            return;
        }
        let place = Place::take(&self.connections);
        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
        let activity = Arc::new(Activity::new());
        let id = self.next_id;
        self.next_id += 1;
        self.registry.with(|known| known.insert(id, activity.clone()));
        let registered = Registered { registry: self.registry.clone(), id };
        let (front, http, tls) = (self.front.clone(), self.http.clone(), self.tls.clone());
        self.tasks.spawn(async move {
            let _registered = registered;
            match tls.map(|tls| tls.acceptor()) {
                None => {
                    converse(&http, &front, peer, Observed { socket: stream, activity, _place: place }).await
                }
                Some(tls) => {
                    let secured = tokio::select! {
                        secured = tls.accept(stream) => secured,
                        () = activity.wake.notified() => return,
                    };
                    match secured {
                        Ok(socket) => {
                            converse(&http, &front, peer, Observed { socket, activity, _place: place }).await
                        }
                        Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    }
                }
            }
        });
    }

    async fn drain(mut self) {
        self.registry.with(|known| {
            for activity in known.values() {
                activity.draining.store(true, Relaxed);
                activity.wake.notify_one();
            }
        });
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, all_ended).await.is_err() {
            tracing::info!(left = self.tasks.len(), "closing connections whose requests did not end in time");
        }
    }
}

/// Serves one connection until it ends, or is idle when asked to.
async fn converse<S>(http: &http1::Builder, front: &Arc<Front>, peer: SocketAddr, socket: Observed<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = socket.activity.clone();
    let service = service_fn(|request| {
        let busy = activity.begin();
        let front = front.clone();
        async move {
            let (head, body) = front.answer(peer, request).await.into_parts();
            Ok::<_, Infallible>(Response::from_parts(head, Answer { body, _busy: busy }))
        }
    });
    let conversation = http.serve_connection(TokioIo::new(socket), service).with_upgrades();
    tokio::pin!(conversation);
    loop {
        tokio::select! {
            ended = conversation.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return;
            }
            () = activity.wake.notified() => {
                if !activity.is_busy() || activity.is_overdue() {
                    return;
                }
                if activity.draining.load(Relaxed) {
                    conversation.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

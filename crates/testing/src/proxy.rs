//! A proxy between a node and its database that cuts connections when told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A server that says nothing more for so long is done with what it got.
const DONE_AFTER: Duration = Duration::from_secs(1);

/// When the connections are cut, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Never,
    /// When the client sends this: before the server gets it.
    Before(&'static str),
    /// When the client sent this: the server gets it, the client never hears the answer.
    After(&'static str),
}

/// Forwards connections from a port of its own to a unix socket.
pub struct Proxy {
    port: u16,
    cut: Arc<Mutex<Cut>>,
    is_open: Arc<Mutex<bool>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Starts forwarding.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    #[must_use]
    pub fn start(to: PathBuf) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let proxy = Proxy {
            port,
            cut: Arc::new(Mutex::new(Cut::Never)),
            is_open: Arc::new(Mutex::new(true)),
            streams: Arc::default(),
        };
        let (cut, is_open, streams) =
            (Arc::clone(&proxy.cut), Arc::clone(&proxy.is_open), Arc::clone(&proxy.streams));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !*lock(&is_open) {
                    continue;
                }
                let Ok(server) = UnixStream::connect(&to) else { continue };
                let (Ok(kept), Ok(from_client), Ok(to_server)) =
                    (client.try_clone(), client.try_clone(), server.try_clone())
                else {
                    continue;
                };
                lock(&streams).push(kept);
                let cut = Arc::clone(&cut);
                thread::spawn(move || forward_up(from_client, to_server, &cut));
                thread::spawn(move || forward_down(server, client));
            }
        });
        proxy
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the next connection over which the client sends this, before the server gets it.
    pub fn cut_before(&self, text: &'static str) {
        *lock(&self.cut) = Cut::Before(text);
    }

    /// Cuts the next connection over which the client sends this, after the server got it and before the client
    /// gets an answer.
    pub fn cut_after(&self, text: &'static str) {
        *lock(&self.cut) = Cut::After(text);
    }

    /// Whether a cut that was asked for is still to come.
    #[must_use]
    pub fn is_to_cut(&self) -> bool {
        *lock(&self.cut) != Cut::Never
    }

    /// Cuts every connection and lets no new one through.
    pub fn close(&self) {
        *lock(&self.is_open) = false;
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn open(&self) {
        *lock(&self.is_open) = true;
    }
}

fn forward_up(mut client: TcpStream, mut server: UnixStream, cut: &Mutex<Cut>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let sent = &buffer[..read];
        let contains = |text: &str| sent.windows(text.len()).any(|window| window == text.as_bytes());
        let what = {
            let mut cut = lock(cut);
            match *cut {
                Cut::Before(text) | Cut::After(text) if contains(text) => {
                    std::mem::replace(&mut *cut, Cut::Never)
                }
                _ => Cut::Never,
            }
        };
        if what != Cut::Never {
            let _ = client.shutdown(Shutdown::Both);
        }
        if matches!(what, Cut::Before(_)) || server.write_all(sent).is_err() {
            break;
        }
        if matches!(what, Cut::After(_)) {
            // The server must not notice before it is done with what it got.
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn forward_down(mut server: UnixStream, mut client: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    let mut is_heard = true;
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if is_heard && client.write_all(&buffer[..read]).is_err() {
            is_heard = false;
            let _ = server.set_read_timeout(Some(DONE_AFTER));
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A real listener with the dialect on it, and a client that opens a connection for each request.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod behind;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admit_engine::{Config, Engine, Home, PostgresConfig};
use admit_http::{Access, Listener, ListenerConfig, Serving, Shutdown, Tokens};
use admit_prefect::{Behind, MIGRATIONS, Options, Prefect};
use admit_testing::shared;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A server.
pub struct Server {
    pub address: SocketAddr,
    pub engine: Engine,
    pub tokens: Arc<Tokens>,
    folder: Option<TempDir>,
    shutdown: Shutdown,
    serving: Vec<Serving>,
    runtime: Runtime,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Whether the listener asks for tokens, as it does beyond loopback.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    Tokens,
}

impl Server {
    /// One in a folder of its own that holds requests for so long.
    pub fn start(hold: Duration) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), hold, Door::Open)
    }

    pub fn start_in(folder: TempDir, hold: Duration, door: Door) -> Server {
        Server::start_with(folder, Options { hold, ..Options::default() }, door)
    }

    /// One that stands before a Prefect server at this address.
    pub fn start_before(upstream: SocketAddr, door: Door) -> Server {
        Server::start_with(tempfile::tempdir().unwrap(), before(upstream), door)
    }

    pub fn start_with(folder: TempDir, options: Options, door: Door) -> Server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let migrations = [admit_http::MIGRATIONS, MIGRATIONS].concat();
        let engine = Engine::open(Config { migrations, ..Config::at(home(&folder)) }).unwrap();
        let tokens = Arc::new(runtime.block_on(Tokens::load(&engine)).unwrap());
        let shutdown = Shutdown::new();
        let mut server = Server {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            engine,
            tokens,
            folder: Some(folder),
            shutdown,
            serving: Vec::new(),
            runtime,
        };
        server.address = server.listen(options, door);
        server
    }

    /// Another listener on the same engine that knows nothing of the first, as on another node.
    pub fn listen(&mut self, options: Options, door: Door) -> SocketAddr {
        let prefect = Prefect::open(self.engine.clone(), self.tokens.clone(), options);
        let prefect = self.runtime.block_on(prefect).unwrap();
        let is_loopback = door == Door::Open;
        let access = Access::TokensBeyondLoopback { tokens: self.tokens.clone(), is_loopback };
        let config = ListenerConfig::new("prefect", SocketAddr::from(([127, 0, 0, 1], 0)), access);
        let listener = Listener::bind(config).unwrap();
        let address = listener.address();
        self.serving.push(listener.serve(move || prefect.router(), &self.shutdown).unwrap());
        address
    }

    /// Stops it, and gives its folder back for another.
    pub fn stop(mut self) -> TempDir {
        self.end();
        self.folder.take().unwrap()
    }

    fn end(&mut self) {
        self.shutdown.trigger();
        if self.serving.is_empty() {
            return;
        }
        self.serving.drain(..).for_each(Serving::join);
        let _ = self.runtime.block_on(self.engine.shutdown());
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs a future beside what the test does, whenever it waits in [`Server::run`].
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Sends a request below `/api`, without a body.
    pub fn get(&self, path: &str) -> Answer {
        self.run(send(self.address, "GET", path, &[], None))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.run(send(self.address, "DELETE", path, &[], None))
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.run(post(self.address, path, body))
    }

    pub fn patch(&self, path: &str, body: Value) -> Answer {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        self.run(send(self.address, "PATCH", path, &headers, Some(body.to_string())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a server behaves that stands before the one at this address.
pub fn before(upstream: SocketAddr) -> Options {
    let behind = Behind::new(format!("http://{upstream}").parse().unwrap()).unwrap();
    Options { behind: Some(Arc::new(behind)), ..Options::default() }
}

/// Where the log of a server in this folder is. The program that runs these tests on PostgreSQL is called so.
fn home(folder: &TempDir) -> Home {
    if env!("CARGO_CRATE_NAME") == "postgres" {
        let database = PostgresConfig::parse(&shared().url_of(folder.path())).unwrap();
        Home::Postgres(database)
    } else {
        Home::Folder(folder.path().to_owned())
    }
}

pub async fn post(address: SocketAddr, path: &str, body: Value) -> Answer {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    send(address, "POST", path, &headers, Some(body.to_string())).await
}

/// Sends one request with these headers.
pub fn ask(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    server.run(send(server.address, method, path, &headers, body.map(str::to_owned)))
}

/// Sends one request on a connection of its own.
pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Option<String>,
) -> Answer {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request =
        Request::builder().method(method).uri(format!("/api{path}")).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    connection.abort();
    Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
}

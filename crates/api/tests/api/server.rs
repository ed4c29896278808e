//! A server to test, and a client that knows no more of HTTP than it has to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use admit_api::{About, App};
use admit_engine::{Config, Engine, Home, PostgresConfig};
use admit_http::{Access, Listener, ListenerConfig, Serving, Shutdown, Tokens};
use admit_testing::shared;
use serde_json::Value;

/// Longer than anything that a test waits for: it fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    pub address: SocketAddr,
    pub engine: Engine,
    pub tokens: Arc<Tokens>,
    shutdown: Shutdown,
    serving: Option<Serving>,
    _folder: tempfile::TempDir,
}

/// The tokens' tables, a listener on loopback that asks nobody, no limits.
pub fn server() -> Server {
    Server::start(|_| {})
}

impl Server {
    pub fn start(adjust: impl FnOnce(&mut ListenerConfig)) -> Server {
        let folder = tempfile::tempdir().unwrap();
        Server::start_at(home(folder.path()), folder, adjust)
    }

    /// The same with its log there.
    pub fn start_at(
        home: Home,
        folder: tempfile::TempDir,
        adjust: impl FnOnce(&mut ListenerConfig),
    ) -> Server {
        let mut config = Config::at(home);
        config.migrations = admit_http::MIGRATIONS.to_vec();
        let engine = Engine::open(config).unwrap();
        let tokens = Arc::new(pollster::block_on(Tokens::load(&engine)).unwrap());
        let loopback = "127.0.0.1:0".parse().unwrap();
        let access = Access::by_address(loopback, tokens.clone());
        let mut config = ListenerConfig::new("native", loopback, access);
        adjust(&mut config);
        let listener = Listener::bind(config).unwrap();
        let (address, shutdown) = (listener.address(), Shutdown::new());
        let about = About::new("0.0.0-test", folder.path().display().to_string(), Vec::new());
        let app = App::new(engine.clone(), tokens.clone(), shutdown.clone(), about);
        let serving = listener.serve(move || admit_api::router(&app), &shutdown).unwrap();
        Server { address, engine, tokens, shutdown, serving: Some(serving), _folder: folder }
    }

    /// Sends a request with a JSON body (none if empty) and reads the answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_with(method, path, &[], body)
    }

    pub fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            text += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        let answer = self.raw(format!("{text}\r\n{body}").as_bytes());
        assert_is_described(method, path, answer.status);
        answer
    }

    /// Sends bytes as they are and reads one answer.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut socket = self.connect();
        socket.write_all(request).unwrap();
        Answer::read(&mut BufReader::new(socket))
    }

    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "")
    }

    /// Defines a limit of so many slots.
    pub fn limit(&self, name: &str, max: u32) {
        let answer = self.call("PUT", &format!("/api/v1/limits/{name}"), &format!("{{\"max\":{max}}}"));
        assert!(answer.status < 300, "{answer:?}");
    }

    /// Takes a slot of a limit; gives the lease.
    pub fn take(&self, limit: &str) -> Value {
        let body = format!("{{\"claims\":[{{\"limit\":\"{limit}\"}}]}}");
        let answer = self.call("POST", "/api/v1/leases", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, is_so: impl Fn(&Server) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "{what} did not come to be");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it and says how long that took.
    pub fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.shutdown.trigger();
        self.serving.take().unwrap().join();
        began.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(serving) = self.serving.take() {
            serving.join();
        }
    }
}

/// Where the log of a server in this folder is. The program that runs these tests on PostgreSQL is called so.
fn home(folder: &Path) -> Home {
    if env!("CARGO_CRATE_NAME") == "postgres" {
        let database = PostgresConfig::parse(&shared().url_of(folder)).unwrap();
        Home::Postgres(database)
    } else {
        Home::Folder(folder.to_owned())
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn read(reader: &mut impl BufRead) -> Answer {
        let mut answer = Answer::read_head(reader);
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).unwrap();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = read_chunk(reader) {
                body.extend(chunk);
            }
        }
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    pub fn read_head(reader: &mut impl BufRead) -> Answer {
        let status = line(reader).split(' ').nth(1).expect("a status line").parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = line(reader);
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Answer { status, headers, body: String::new() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The last part of a problem's type; empty if it is none.
    pub fn kind(&self) -> String {
        if self.header("content-type") != Some("application/problem+json") {
            return String::new();
        }
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["detail"].is_string() && problem["title"].is_string(), "{self:?}");
        problem["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }
}

/// What is answered is what the OpenAPI document says: every call of these tests tests that too.
fn assert_is_described(method: &str, path: &str, status: u16) {
    static DOCUMENT: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(&admit_api::openapi_json()).unwrap());
    let parts: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
    let matches = |template: &&String| {
        let template: Vec<&str> = template.split('/').collect();
        let same = |(wanted, given): (&&str, &&str)| {
            wanted == given || (wanted.starts_with('{') && !given.is_empty())
        };
        template.len() == parts.len() && template.iter().zip(&parts).all(same)
    };
    // `leases/check` is a path of its own beside `leases/{id}`.
    let templates = DOCUMENT["paths"].as_object().unwrap().keys();
    let Some(template) = templates.filter(matches).min_by_key(|template| template.matches('{').count())
    else {
        return;
    };
    let operation = &DOCUMENT["paths"][template][method.to_ascii_lowercase()];
    let is_described = operation.is_null() || operation["responses"][status.to_string()].is_object();
    assert!(is_described, "{method} {template} answers {status}, which the document does not say");
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// The next chunk of a chunked body; none at its end.
pub fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let size = usize::from_str_radix(&line(reader), 16).unwrap();
    let mut chunk = vec![0; size];
    reader.read_exact(&mut chunk).unwrap();
    line(reader);
    (size > 0).then_some(chunk)
}

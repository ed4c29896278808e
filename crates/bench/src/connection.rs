//! One HTTP/1.1 connection, kept alive: as little work per request as a client can do, so that the figures
//! are the server's.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;

/// Bytes of one answer at most; a larger one is a mistake of the benchmark.
const MAX_ANSWER_BYTES: usize = 1 << 22;

/// A connection to the server.
pub struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(host: &str) -> Result<Connection> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, host: host.to_owned(), request: Vec::new(), answer: Vec::new() })
    }

    /// One request; its status and body.
    pub async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, &[u8])> {
        use std::io::Write;
        self.request.clear();
        write!(self.request, "{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host)?;
        if !body.is_empty() {
            write!(self.request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len())?;
        }
        write!(self.request, "\r\n{body}")?;
        self.stream.write_all(&self.request).await?;
        self.read_answer().await
    }

    async fn read_answer(&mut self) -> Result<(u16, &[u8])> {
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            let Some(head) = self.answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.answer[..head])?;
            let status: u16 = text.get(9..12).ok_or("no status line")?.parse()?;
            let length = text
                .lines()
                .find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim())
                })
                .map_or(Ok(0), str::parse::<usize>)?;
            if length > MAX_ANSWER_BYTES {
                return Err(format!("an answer of {length} bytes").into());
            }
            let end = head + 4 + length;
            while self.answer.len() < end {
                if self.stream.read_buf(&mut self.answer).await? == 0 {
                    return Err("the server closed the connection within an answer".into());
                }
            }
            return Ok((status, &self.answer[head + 4..end]));
        }
    }

    /// A request whose status has to be one of `expected`.
    pub async fn expect(&mut self, expected: &[u16], method: &str, path: &str, body: &str) -> Result<()> {
        let (status, answer) = self.call(method, path, body).await?;
        if expected.contains(&status) {
            return Ok(());
        }
        Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(answer)).into())
    }
}

//! The server itself.

use serde::Serialize;
use utoipa::ToSchema;

/// What the server says of itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StatusBody {
    /// Its version.
    pub version: String,
    /// When it was started (RFC 3339).
    pub started_at: String,
    /// How long ago that is, in milliseconds.
    pub uptime_ms: u64,
    /// What it listens on, and what it does not.
    pub listeners: Vec<ListenerBody>,
    /// How much there is of everything.
    pub totals: TotalsBody,
    /// The log.
    pub store: StoreBody,
}

/// One listener.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ListenerBody {
    /// What it is called: `native`, `prefect` ...
    pub name: String,
    /// Its address, with the port that was bound; null: it is off.
    pub address: Option<String>,
    /// Why it is off, and the way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_because: Option<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Connections that are open now.
    pub connections: usize,
}

/// How much there is of everything.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TotalsBody {
    /// Live leases.
    pub leases: u64,
    /// Waiting tickets.
    pub tickets: u64,
    /// Keys that are remembered.
    pub keys: u64,
    /// Limits.
    pub limits: u64,
    /// Valid access tokens.
    pub access_tokens: usize,
}

/// The log and its state. What is counted is counted since the server was started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoreBody {
    /// Where it is.
    pub location: String,
    /// The latest record.
    pub seq: u64,
    /// The format that the log is in. It rises by itself when every live node knows a newer one.
    pub format: u16,
    /// When that was written, by the log's own time (RFC 3339).
    pub log_time: String,
    /// How long ago that is, in milliseconds.
    pub log_age_ms: u64,
    /// What is added to the database's clock, or where there is none this machine's, to make the log's time, in
    /// milliseconds.
    pub clock_offset_ms: i64,
    /// Steps of that clock that were absorbed.
    pub clock_steps: u64,
    /// Bytes that were appended.
    pub log_bytes_written: u64,
    /// Snapshots that were stored.
    pub snapshots: u64,
    /// Bytes of the latest.
    pub snapshot_bytes: u64,
    /// Silences of the log in which nobody could renew.
    pub outages: u64,
    /// Whether requests are being served.
    pub serving: bool,
}

//! What a client of the native API does with leases.

use uuid::Uuid;

use crate::Result;
use crate::connection::Connection;
use crate::server::Server;

/// Makes the limit of [`pair`], which never fills.
pub async fn make_limit(server: &Server) -> Result<()> {
    let mut connection = Connection::open(&server.host).await?;
    connection.expect(&[200, 201], "PUT", "/api/v1/limits/bench", r#"{"max":1000000}"#).await
}

/// Acquires a slot of one of so many keys, and releases it.
pub async fn pair(connection: &mut Connection, keys: u128) -> Result<()> {
    let id = Uuid::new_v4();
    let key = match keys {
        1 => String::new(),
        // The lower half of an id is random.
        keys => format!(r#","key":"bench/{}""#, (id.as_u128() & u128::from(u32::MAX)) % keys),
    };
    let body = format!(r#"{{"id":"{id}","claims":[{{"limit":"bench","slots":1{key}}}],"ttl_ms":60000}}"#);
    connection.expect(&[201], "POST", "/api/v1/leases", &body).await?;
    connection.expect(&[204], "DELETE", &format!("/api/v1/leases/{id}"), "").await
}

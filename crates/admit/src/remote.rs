//! The server or servers that the commands talk to, as `ADMIT_URL` and `ADMIT_TOKEN` say.

use admit_client::Client;

use crate::exit::Failure;

/// Where a server listens unless it is told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// A client of the server that the environment names, or of several that share their log.
///
/// # Errors
/// `ADMIT_URL` is no address of a server, nor several with commas between them.
pub fn client() -> Result<Client, Failure> {
    let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url = var("ADMIT_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
    Ok(Client::new(&url, var("ADMIT_TOKEN").as_deref())?)
}

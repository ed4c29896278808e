//! `admit release`: give slots back.

use clap::Args as ClapArgs;
use uuid::Uuid;

use crate::exit::{Outcome, code};
use crate::output;
use crate::remote;

/// Give slots back; fine also when the lease has ended
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The lease
    id: Uuid,
}

/// Releases.
///
/// # Errors
/// No server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    remote::client()?.release(args.id)?;
    if json { output::json(&serde_json::json!({ "id": args.id, "released": true })) } else { Ok(code::OK) }
}

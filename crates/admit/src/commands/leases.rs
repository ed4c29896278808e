//! `admit leases`: who holds what.

use clap::Args as ClapArgs;

use crate::duration::human;
use crate::exit::Outcome;
use crate::output::{self, Table, clean};
use crate::remote;

/// Show who holds what
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Only those who hold slots of this key
    #[arg(long, value_name = "K")]
    key: Option<String>,
}

/// Lists the leases.
///
/// # Errors
/// No server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    let leases = remote::client()?.leases(args.key.as_deref())?;
    if json {
        return output::json(&leases);
    }
    let mut table = Table::new(&["LEASE", "TOKEN", "CLAIMS", "HOLDER", "ENDS IN"], &[1]);
    for lease in &leases {
        let claims: Vec<String> = lease
            .claims
            .iter()
            .map(|claim| match claim.slots {
                1 => clean(claim.key_name()),
                n => format!("{} x{n}", clean(claim.key_name())),
            })
            .collect();
        table.row([
            lease.id.to_string(),
            lease.token.to_string(),
            claims.join(", "),
            lease.holder.as_deref().map_or_else(|| "-".to_owned(), clean),
            lease.expires_in_ms.map_or_else(|| "never".to_owned(), human),
        ]);
    }
    table.print("nobody holds a slot")
}

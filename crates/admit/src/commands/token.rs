//! `admit token`: access tokens.

use admit_client::{Role, Token, TokenRequest};
use clap::{Subcommand, ValueEnum};

use crate::duration;
use crate::exit::{Outcome, code};
use crate::output::{self, DIM, Table, clean, paint};
use crate::remote;

/// Make, list and revoke access tokens
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a token and print it, this once
    Create {
        /// What it may do; each role may do what the ones before it may
        #[arg(long)]
        role: RoleArg,
        /// What it is called
        #[arg(long, value_name = "N")]
        name: String,
        /// How long it is good for; without it, until it is revoked
        #[arg(long, value_name = "DURATION", value_parser = duration::parse_ms)]
        expires: Option<u64>,
    },
    /// List the tokens, without their secrets
    Ls,
    /// Make a token worthless, at once
    Revoke {
        /// What it is called
        name: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleArg {
    /// Acquire, renew, release and look
    Acquire,
    /// Change limits too
    Operate,
    /// Change tokens too
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Role {
        match role {
            RoleArg::Acquire => Role::Acquire,
            RoleArg::Operate => Role::Operate,
            RoleArg::Admin => Role::Admin,
        }
    }
}

/// Does it.
///
/// # Errors
/// The server refuses, or is away.
pub fn run(action: &Action, json: bool) -> Outcome {
    let client = remote::client()?;
    match action {
        Action::Create { role, name, expires } => {
            let request = TokenRequest { name: name.clone(), role: (*role).into(), expires_in_ms: *expires };
            let made = client.create_token(&request)?;
            if json {
                return output::json(&made);
            }
            output::note("this is shown once; set it as ADMIT_TOKEN where it is used");
            output::line(&made.token)
        }
        Action::Ls => {
            let tokens = client.tokens()?;
            if json {
                return output::json(&tokens);
            }
            let mut table = Table::new(&["NAME", "ROLE", "CREATED", "GOOD FOR"], &[]);
            for token in &tokens {
                table.row([
                    clean(&token.name),
                    format!("{:?}", token.role).to_lowercase(),
                    token.created_at.clone().unwrap_or_else(|| "-".to_owned()),
                    good_for(token),
                ]);
            }
            table.print("there are no tokens")
        }
        Action::Revoke { name } => {
            client.revoke_token(name)?;
            if json {
                output::json(&serde_json::json!({ "name": name, "revoked": true }))
            } else {
                Ok(code::OK)
            }
        }
    }
}

fn good_for(token: &Token) -> String {
    match (token.valid, &token.revoked_at, token.expires_in_ms) {
        (_, Some(at), _) => paint(DIM, format_args!("revoked {at}")),
        (false, None, _) => paint(DIM, "expired"),
        (true, None, Some(ms)) => duration::human(ms),
        (true, None, None) => "until revoked".to_owned(),
    }
}

//! `admit config check`: the configuration in force, and where each value comes from.

use clap::Subcommand;
use serde_json::{Map, json};

use crate::config::{Config, Flags, mistyped_variables};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Table};

/// Check the server's configuration
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show every setting, and where its value comes from
    Check(Flags),
}

/// Prints it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn run(action: &Action, json: bool) -> Outcome {
    let Action::Check(flags) = action;
    let env = environment();
    let config = Config::load(flags, &env).map_err(Failure::Config)?;
    for warning in mistyped_variables(&env) {
        output::note(warning);
    }
    if json {
        let rows = config.values.iter().map(|(setting, value)| {
            let texts: Vec<String> = value.texts.iter().map(|text| setting.shown(text)).collect();
            let shown = if setting.is_list { json!(texts) } else { json!(texts.first()) };
            (setting.name.to_owned(), json!({ "value": shown, "from": value.source.to_string() }))
        });
        return output::json(&rows.collect::<Map<_, _>>());
    }
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"], &[]);
    for (setting, value) in &config.values {
        let shown = value.texts.iter().map(|text| setting.shown(text)).collect::<Vec<_>>().join(", ");
        let shown = if shown.is_empty() { "-".to_owned() } else { output::clean(&shown) };
        table.row([setting.name.to_owned(), shown, value.source.to_string()]);
    }
    table.print("")
}

/// The environment, as text.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

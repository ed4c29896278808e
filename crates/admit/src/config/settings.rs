//! Every setting there is. Its name in the file is `name`, in the environment `ADMIT_NAME`, on the command
//! line `--name` where it has a flag.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is where nobody says; empty: nothing.
    pub default: &'static str,
    /// Whether it is a list.
    pub is_list: bool,
    /// Whether a running server takes over a change (SIGHUP).
    pub is_live: bool,
}

const fn fixed(name: &'static str, default: &'static str) -> Setting {
    Setting { name, default, is_list: false, is_live: false }
}

const fn live(name: &'static str, default: &'static str) -> Setting {
    Setting { name, default, is_list: false, is_live: true }
}

/// All settings, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    fixed("listen", "127.0.0.1:7070"),
    fixed("tls_cert", ""),
    fixed("tls_key", ""),
    Setting { name: "allow_hosts", default: "", is_list: true, is_live: true },
    fixed("prefect", "127.0.0.1:4200"),
    fixed("prefect_hold", "25s"),
    fixed("prefect_upstream", ""),
    fixed("data", "./admit-data"),
    fixed("database", ""),
    fixed("durability", "full"),
    live("history_age", "24h"),
    live("history_bytes", "1GB"),
    live("log_level", "info"),
    fixed("log_format", "text"),
];

impl Setting {
    /// Its variable in the environment.
    pub fn env(&self) -> String {
        format!("ADMIT_{}", self.name.to_ascii_uppercase())
    }

    /// Its flag; of a list, the flag that adds one.
    pub fn flag(&self) -> String {
        let name = if self.is_list { self.name.trim_end_matches('s') } else { self.name };
        format!("--{}", name.replace('_', "-"))
    }

    /// The values that one text stands for: a list's are separated by commas.
    pub fn split(&self, text: &str) -> Vec<String> {
        if self.is_list {
            text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
        } else {
            vec![text.to_owned()]
        }
    }

    /// A value of its as anybody may see it.
    pub fn shown(&self, text: &str) -> String {
        if self.name == "database" { without_password(text) } else { text.to_owned() }
    }

    /// Its values where nobody says.
    pub fn default_texts(&self) -> Vec<String> {
        self.split(self.default)
    }
}

/// A URL without the password in it.
fn without_password(url: &str) -> String {
    let hidden = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        let (address, options) =
            rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
        let (login, place) = address.rsplit_once('@')?;
        let login = login.split_once(':').map_or(login.to_owned(), |(user, _)| format!("{user}:***"));
        let is_open = |option: &&str| !option.starts_with("password=");
        let options = options.map(|all| all.split('&').filter(is_open).collect::<Vec<_>>().join("&"));
        Some(format!(
            "{scheme}://{login}@{place}{}",
            options.map(|all| format!("?{all}")).unwrap_or_default()
        ))
    };
    match hidden(url) {
        Some(hidden) => hidden,
        // Whatever is no URL may be anything.
        None if url.contains("password") => "***".to_owned(),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("", ""),
            ("postgres://db/x?schema=a", "postgres://db/x?schema=a"),
            ("postgres://me@db/x", "postgres://me@db/x"),
            ("postgres://me:s3cr@t@db/x?schema=a", "postgres://me:***@db/x?schema=a"),
            ("postgres://me@db/x?password=s3cret&schema=a", "postgres://me@db/x?schema=a"),
            ("postgres://db/x?password=s3cret", "***"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}

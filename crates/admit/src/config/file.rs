//! The configuration's file: TOML, its keys are the settings' names.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::settings::{SETTINGS, Setting};
use super::source::{Source, Value};

/// The largest file that is read: there are a dozen settings.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The values in a file, by setting.
///
/// # Errors
/// Everything that is wrong with it, a line each, with the line's number.
pub fn read(path: &Path) -> Result<BTreeMap<&'static str, Value>, String> {
    let file = path.display();
    let about = std::fs::metadata(path).map_err(|e| format!("{file}: {e}"))?;
    if about.len() > MAX_FILE_BYTES {
        return Err(format!("{file}: it is larger than {MAX_FILE_BYTES} bytes"));
    }
    parse(path, &std::fs::read_to_string(path).map_err(|e| format!("{file}: {e}"))?)
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<&'static str, Value>, String> {
    let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    let at_line = |at: usize, what: String| format!("{}, line {}: {what}", path.display(), line_of(at));
    let table = DeTable::parse(text)
        .map_err(|e| at_line(e.span().map_or(0, |span| span.start), e.message().to_owned()))?;
    let (mut values, mut wrong) = (BTreeMap::new(), Vec::new());
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        let at = key.span().start;
        match SETTINGS.iter().find(|setting| setting.name == name) {
            None => wrong.push((at, at_line(at, unknown(name)))),
            Some(setting) => match texts(setting, value.get_ref()) {
                Ok(texts) => {
                    let source = Source::File { path: path.to_owned(), line: line_of(at) };
                    values.insert(setting.name, Value { texts, source });
                }
                Err(why) => wrong.push((at, at_line(at, format!("{name}: {why}")))),
            },
        }
    }
    wrong.sort();
    let lines: Vec<String> = wrong.into_iter().map(|(_, line)| line).collect();
    if lines.is_empty() { Ok(values) } else { Err(lines.join("\n")) }
}

fn unknown(name: &str) -> String {
    match super::nearest(name, SETTINGS.iter().map(|setting| setting.name)) {
        Some(meant) => format!("there is no setting '{name}'; did you mean '{meant}'?"),
        None => {
            let all: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            format!("there is no setting '{name}'; there are {}", all.join(", "))
        }
    }
}

fn texts(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let is = |value: &DeValue<'_>| value.type_str().to_owned();
    let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
    match (setting.is_list, value) {
        (true, DeValue::Array(items)) => items
            .iter()
            .map(|item| {
                text(item.get_ref()).ok_or_else(|| format!("a text is expected, not {}", is(item.get_ref())))
            })
            .collect(),
        (true, other) => {
            Err(format!("a list of texts is expected, not {}; write it like [\"a\", \"b\"]", is(other)))
        }
        (false, DeValue::Integer(number)) if setting.name == "history_bytes" => {
            Ok(vec![number.as_str().to_owned()])
        }
        (false, other) => match text(other) {
            Some(text) => Ok(vec![text]),
            None => Err(format!("a text is expected, not {}; write it in quotes", is(other))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_refused_by_line_and_name() {
        let check = |text: &str, expect: &str| {
            assert_eq!(parse(Path::new("admit.toml"), text).unwrap_err(), expect);
        };
        check("lisen = \"1\"", "admit.toml, line 1: there is no setting 'lisen'; did you mean 'listen'?");
        check(
            "data = \"x\"\n\n[log]\nlevel = \"info\"",
            "admit.toml, line 3: there is no setting 'log'; did you mean 'log_level'?",
        );
        check(
            "listen = 7070",
            "admit.toml, line 1: listen: a text is expected, not integer; write it in quotes",
        );
        check(
            "# hosts\nallow_hosts = \"a\"",
            "admit.toml, line 2: allow_hosts: a list of texts is expected, not string; write it like [\"a\", \"b\"]",
        );
        check("allow_hosts = [1]", "admit.toml, line 1: allow_hosts: a text is expected, not integer");
        check("data = ", "admit.toml, line 1: string values must be quoted, expected literal string");
        check("data = \"a\"\ndata = \"b\"", "admit.toml, line 2: duplicate key");
        check(
            "b = 1\nlisten_ = 1",
            "admit.toml, line 1: there is no setting 'b'; there are listen, tls_cert, tls_key, allow_hosts, prefect, \
             prefect_hold, prefect_upstream, data, database, durability, history_age, history_bytes, log_level, log_format\n\
             admit.toml, line 2: there is no setting 'listen_'; did you mean 'listen'?",
        );
    }
}

//! Limits as code: what `admit limit apply` reads and `admit limit export` prints.
//!
//! ```toml
//! [limits.openai]
//! max = 10
//! window = "60s"
//! counts = "starts"
//! match = ["windmill/openai", "apim/openai-*"]
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use admit_client::{Counts, LimitSpec, Mode, OnFull, QueueSpec, Window};
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::exit::Failure;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A file of limits.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFile {
    #[serde(default)]
    limits: BTreeMap<String, Definition>,
}

/// A limit in a file: the words of the command line, what is not said has its default.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    max: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decay: Option<f64>,
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    mode: Mode,
    #[serde(default, skip_serializing_if = "is_default")]
    on_full: OnFull,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_len: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_wait: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The limits of a TOML or (by its ending) JSON file, by name; `-` is standard input.
///
/// # Errors
/// The file cannot be read, or says what it must not: the message names line, limit and field.
pub fn read(path: &Path) -> Result<Vec<LimitSpec>, Failure> {
    let name = path.display();
    let text = read_text(path).map_err(Failure::io(format!("reading {name}")))?;
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    parse(&text, is_json).map_err(|why| Failure::Config(format!("{name}: {why}")))
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn parse(text: &str, is_json: bool) -> Result<Vec<LimitSpec>, String> {
    let file: LimitFile = if is_json {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?
    };
    file.limits.into_iter().map(|(name, definition)| definition.into_spec(name)).collect()
}

impl LimitFile {
    /// The file that says these limits.
    pub fn of(limits: impl IntoIterator<Item = LimitSpec>) -> LimitFile {
        LimitFile {
            limits: limits.into_iter().map(|spec| (spec.name.clone(), Definition::of(spec))).collect(),
        }
    }

    /// It as TOML.
    ///
    /// # Errors
    /// A number that TOML cannot say.
    pub fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self).map_err(|e| Failure::Other(format!("writing the limits: {e}")))
    }
}

impl Definition {
    fn of(spec: LimitSpec) -> Definition {
        let queue = QueueSpec::default();
        Definition {
            max: spec.max,
            window: spec.window.map(|window| duration::exact(window.ms)),
            counts: spec.window.map(|window| window.counts),
            decay: spec.decay_per_second,
            patterns: spec.patterns,
            mode: spec.mode,
            on_full: spec.on_full,
            max_len: Some(spec.queue.max_len).filter(|len| *len != queue.max_len),
            max_wait: spec.queue.max_wait_ms.map(duration::exact),
            description: spec.description,
        }
    }

    fn into_spec(self, name: String) -> Result<LimitSpec, String> {
        let wrong = |field: &str, why: &str| format!("limit '{name}', {field}: {why}");
        let ms = |field: &str, text: Option<String>| {
            text.map(|text| duration::parse_ms(&text).map_err(|why| wrong(field, &why))).transpose()
        };
        let window_ms = ms("window", self.window)?;
        if window_ms.is_none() && self.counts.is_some() {
            return Err(wrong("counts", "it says what a window counts, but there is no window"));
        }
        if window_ms.is_some() && self.decay.is_some() {
            return Err(wrong("decay", "a limit has a window or a decay, not both"));
        }
        let max_wait_ms = ms("max_wait", self.max_wait)?;
        Ok(LimitSpec {
            max: self.max,
            window: window_ms.map(|ms| Window { ms, counts: self.counts.unwrap_or_default() }),
            decay_per_second: self.decay,
            patterns: self.patterns,
            mode: self.mode,
            on_full: self.on_full,
            queue: QueueSpec { max_len: self.max_len.unwrap_or(QueueSpec::default().max_len), max_wait_ms },
            description: self.description,
            source: SOURCE.to_owned(),
            name,
        })
    }
}

/// The source of limits that a file made: `--prune` removes no others.
pub const SOURCE: &str = "file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_is_read_back() {
        let full = LimitSpec {
            window: Some(Window { ms: 90_500, counts: Counts::Runs }),
            patterns: vec!["a/**".into(), "b-*".into()],
            mode: Mode::Observe,
            on_full: OnFull::CancelOldest,
            queue: QueueSpec { max_len: 5, max_wait_ms: Some(60_000) },
            description: "for \"us\"".into(),
            source: SOURCE.into(),
            ..LimitSpec::new("tag:x/y z", 7)
        };
        let decay =
            LimitSpec { decay_per_second: Some(0.25), source: SOURCE.into(), ..LimitSpec::new("rate", 100) };
        let plain = LimitSpec { source: SOURCE.into(), ..LimitSpec::new("a", 0) };
        let limits = vec![plain, decay, full];
        let file = LimitFile::of(limits.clone());
        assert_eq!(parse(&file.to_toml().unwrap(), false).unwrap(), limits);
        assert_eq!(parse(&serde_json::to_string(&file).unwrap(), true).unwrap(), limits);
    }

    #[test]
    fn a_wrong_file_is_refused_by_line_limit_and_field() {
        let check = |text: &str, expect: &[&str]| {
            let error = parse(text, false).unwrap_err();
            for part in expect {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        };
        check("[limits.a]\nmax = 1\nmaxx = 2", &["line 3", "maxx"]);
        check("[limit.a]\nmax = 1", &["line 1", "limit"]);
        check("[limits.a]\n", &["missing field `max`"]);
        check("[limits.a]\nmax = -1", &["line 2", "-1"]);
        check("[limits.a]\nmax = \"1\"", &["line 2", "string"]);
        check("[limits.a]\nmax = 1\n[limits.a]\nmax = 2", &["line 3", "duplicate"]);
        check("[limits.a]\nmax = 1\nwindow = \"60\"", &["limit 'a', window", "60 has no unit"]);
        check("[limits.a]\nmax = 1\ncounts = \"runs\"", &["limit 'a', counts", "no window"]);
        check("[limits.a]\nmax = 1\nwindow = \"1s\"\ndecay = 1.0", &["limit 'a', decay", "not both"]);
        check("[limits.a]\nmax = 1\nmode = \"maybe\"", &["line 3", "maybe", "observe"]);
    }
}

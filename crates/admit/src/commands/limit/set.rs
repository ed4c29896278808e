//! `admit limit set`: define a limit, or change some of it.

use admit_client::{Counts, Expected, LimitSpec, Mode, OnFull, Window};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args as ClapArgs, ValueEnum};

use crate::commands::claims::slots_from;
use crate::duration;
use crate::exit::{Failure, Outcome};
use crate::remote;

/// Define a limit, or change it; what is not given stays as it is
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Its name, which is also the key on which it counts
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Slots that may be in use at once; 0 closes it
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = slots_from(0))]
    max: Option<u32>,
    /// Count over this span of the past; `none`: slots come back on release
    #[arg(long, value_name = "DURATION", value_parser = none_or_ms, conflicts_with = "decay")]
    window: Option<OrNone<u64>>,
    /// What the window counts
    #[arg(long, requires = "window")]
    counts: Option<CountsArg>,
    /// Slots that come back per second, instead of on release; `none`: on release
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = none_or_rate)]
    decay: Option<OrNone<f64>>,
    /// Every claim on a key that fits this pattern counts here too (`*` within a segment, `**` across);
    /// '' removes all patterns
    #[arg(long = "match", value_name = "PAT")]
    patterns: Vec<String>,
    /// Whether it is enforced
    #[arg(long)]
    mode: Option<ModeArg>,
    /// What becomes of a request that finds it full
    #[arg(long)]
    on_full: Option<OnFullArg>,
    /// How many may wait
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..))]
    max_len: Option<u32>,
    /// How long they may wait; `none`: as long as they like
    #[arg(long, value_name = "DURATION", value_parser = none_or_ms)]
    max_wait: Option<OrNone<u64>>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// A value that can be taken away.
#[derive(Debug, Clone, Copy)]
struct OrNone<T>(Option<T>);

fn none_or_ms(text: &str) -> Result<OrNone<u64>, String> {
    if text == "none" { Ok(OrNone(None)) } else { duration::parse_ms(text).map(|ms| OrNone(Some(ms))) }
}

fn none_or_rate(text: &str) -> Result<OrNone<f64>, String> {
    match text.parse::<f64>() {
        _ if text == "none" => Ok(OrNone(None)),
        // What rates there may be the server knows.
        Ok(rate) if rate.is_finite() => Ok(OrNone(Some(rate))),
        _ => Err("it must be slots per second, like 0.5, or none".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CountsArg {
    /// Starts within it, running or not: a rate
    Starts,
    /// Running ones, and those that ended within it
    Runs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    /// It counts and blocks
    Enforce,
    /// It counts, never blocks, and says what would have waited
    Observe,
    /// It neither counts nor blocks
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OnFullArg {
    /// It waits its turn
    Queue,
    /// It takes the place of those that wait for the same
    KeepNewest,
    /// It waits, and the oldest holder is asked to stop
    CancelOldest,
    /// It is refused
    Reject,
}

/// Changes what was given, unless somebody else changed the limit in between.
///
/// # Errors
/// The server refuses, or is away.
pub fn run(args: &Args, json: bool) -> Outcome {
    let client = remote::client()?;
    let (mut spec, before) = match client.limit(&args.name) {
        Ok(limit) => (limit.spec.clone(), Some(limit)),
        Err(error) if error.status() == Some(404) => {
            let max = args.max.ok_or_else(|| {
                Failure::Other(format!(
                    "there is no limit '{}' yet: say how many slots it has with --max N",
                    args.name
                ))
            })?;
            (LimitSpec::new(&args.name, max), None)
        }
        Err(error) => return Err(error.into()),
    };
    args.change(&mut spec);
    let expected = before.as_ref().map_or(Expected::Absent, Expected::Is);
    super::print(&client.set_limit(&spec, Some(expected))?, json)
}

impl Args {
    fn change(&self, spec: &mut LimitSpec) {
        if let Some(max) = self.max {
            spec.max = max;
        }
        if let Some(OrNone(window)) = self.window {
            let counts = match self.counts {
                Some(CountsArg::Runs) => Counts::Runs,
                Some(CountsArg::Starts) | None => Counts::Starts,
            };
            spec.window = window.map(|ms| Window { ms, counts });
            spec.decay_per_second = None;
        }
        if let Some(OrNone(decay)) = self.decay {
            spec.decay_per_second = decay;
            spec.window = None;
        }
        if !self.patterns.is_empty() {
            spec.patterns = self.patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect();
        }
        if let Some(mode) = self.mode {
            spec.mode = match mode {
                ModeArg::Enforce => Mode::Enforce,
                ModeArg::Observe => Mode::Observe,
                ModeArg::Off => Mode::Off,
            };
        }
        if let Some(on_full) = self.on_full {
            spec.on_full = match on_full {
                OnFullArg::Queue => OnFull::Queue,
                OnFullArg::KeepNewest => OnFull::KeepNewest,
                OnFullArg::CancelOldest => OnFull::CancelOldest,
                OnFullArg::Reject => OnFull::Reject,
            };
        }
        if let Some(max_len) = self.max_len {
            spec.queue.max_len = max_len;
        }
        if let Some(OrNone(max_wait_ms)) = self.max_wait {
            spec.queue.max_wait_ms = max_wait_ms;
        }
        if let Some(description) = &self.description {
            spec.description.clone_from(description);
        }
    }
}

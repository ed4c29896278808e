//! What the real server was asked and what it answered, asked again here. What differs on purpose is in a
//! table, with the reason.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;
#[path = "corpus/differences.rs"]
#[allow(dead_code, reason = "the reasons are for the page: tests/documents.rs")]
mod differences;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Answer, Server, send};
use differences::{DIFFERENCES, Difference, Ours};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Every line of a corpus against a fresh server that holds nothing, a connection for each.
fn replay(corpus: &str) {
    let server = Server::start(Duration::ZERO);
    let mut replay =
        Replay { server: &server, captured: BTreeMap::new(), wrong: Vec::new(), used: Vec::new() };
    let records: Vec<Value> = corpus.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (record, line) in records.iter().zip(corpus.lines()) {
        // The order of members matters to faults, and a `Value` forgets it.
        let sent: Sent<'_> = serde_json::from_str(line).unwrap();
        replay.record(record, sent.body.map(RawValue::get));
    }
    let here = |difference: &&Difference| records.iter().any(|record| record["name"] == difference.record);
    for difference in DIFFERENCES.iter().filter(here) {
        if !replay.used.contains(&difference.record) {
            replay.wrong.push(format!("{}: no longer differs; take it out of the table", difference.record));
        }
    }
    assert!(
        replay.wrong.is_empty(),
        "{} of {}:\n{}",
        replay.wrong.len(),
        records.len(),
        replay.wrong.join("\n")
    );
}

#[test]
fn tag_limits_answer_as_the_real_server_does() {
    replay(include_str!("corpus/v1.jsonl"));
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[test]
fn global_limits_answer_as_the_real_server_does() {
    replay(include_str!("corpus/v2.jsonl"));
}

struct Replay<'a> {
    server: &'a Server,
    captured: BTreeMap<String, String>,
    wrong: Vec<String>,
    used: Vec<&'static str>,
}

impl Replay<'_> {
    fn record(&mut self, record: &Value, body: Option<&str>) {
        let name = record["name"].as_str().unwrap();
        if let Some(seconds) = record["sleep_before_s"].as_f64() {
            // The real server's expiry and decay were recorded in real time.
            std::thread::sleep(Duration::from_secs_f64(seconds));
        }
        let path = self.filled(record["path"].as_str().unwrap());
        let headers = record["headers"].as_object().unwrap();
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let body = match record["body_kind"].as_str().unwrap() {
            "none" => None,
            "raw" => record["raw_body"].as_str().map(str::to_owned),
            _ => Some(self.filled(body.unwrap_or("null"))),
        };
        let method = record["method"].as_str().unwrap();
        let answer = self.server.run(send(self.server.address, method, &path, &headers, body));
        if let Some(capture) = record["capture"].as_object() {
            for (variable, at) in capture {
                let found = at.as_array().unwrap().iter().try_fold(answer.json(), |value, step| {
                    step.as_u64().map_or_else(
                        || value.get(step.as_str().unwrap_or_default()).cloned(),
                        |n| value.get(usize::try_from(n).unwrap()).cloned(),
                    )
                });
                let found =
                    found.as_ref().and_then(Value::as_str).unwrap_or("00000000-0000-4000-8000-0000000000ff");
                self.captured.insert(variable.clone(), found.to_owned());
            }
        }
        let expect =
            (record["status"].as_u64().unwrap(), &record["response_headers"], &record["response_body"]);
        let difference = DIFFERENCES.iter().find(|difference| difference.record == name);
        let same = self.compare(&answer, expect.0, expect.1, expect.2);
        match (same, difference) {
            (Ok(()), _) => {}
            (Err(_), Some(difference)) => {
                self.used.push(difference.record);
                if let Err(wrong) = self.compare_ours(&answer, record, difference) {
                    self.wrong.push(format!("{name} (of the table): {wrong}"));
                }
            }
            (Err(wrong), None) => self.wrong.push(format!("{name}: {wrong}")),
        }
    }

    fn compare_ours(&self, answer: &Answer, record: &Value, difference: &Difference) -> Result<(), String> {
        let Ours { status, retry_after, body } = &difference.ours;
        let mut headers = record["response_headers"].clone();
        headers["retry-after"] = (*retry_after).into();
        let body: Value = serde_json::from_str(body).unwrap();
        if *status == 204 {
            headers["content-type"] = Value::Null;
        }
        self.compare(answer, (*status).into(), &headers, &body)
    }

    fn compare(&self, answer: &Answer, status: u64, headers: &Value, body: &Value) -> Result<(), String> {
        if u64::from(answer.status.as_u16()) != status {
            return Err(format!("{} instead of {status}: {}", answer.status, answer.text));
        }
        for (name, expect) in headers.as_object().unwrap() {
            let expect = expect
                .as_str()
                .map(|expect| expect.replace("$base", &format!("http://{}", self.server.address)));
            let got = answer.header(name).map(str::to_owned);
            let is_number = expect.as_deref() == Some("$number")
                && got.as_ref().is_some_and(|got| got.parse::<f64>().is_ok());
            if got != expect && !is_number {
                return Err(format!("{name}: {got:?} instead of {expect:?}"));
            }
        }
        if answer.header("retry-after").is_some() && headers["retry-after"].is_null() {
            return Err("retry-after: it should not be there".to_owned());
        }
        let mut got = answer.json();
        // The one difference everywhere: what the published document calls `detail` is there, too.
        if let Some(faults) = got.get("exception_detail").cloned() {
            if got["detail"] != faults {
                return Err("detail: not the same as exception_detail".to_owned());
            }
            got.as_object_mut().unwrap().remove("detail");
        }
        if self.equal(&got, body) { Ok(()) } else { Err(format!("\n  got    {got}\n  expect {body}")) }
    }

    fn equal(&self, got: &Value, expect: &Value) -> bool {
        match (got, expect) {
            (Value::Object(got), Value::Object(expect)) => {
                got.len() == expect.len()
                    && expect
                        .iter()
                        .all(|(name, expect)| got.get(name).is_some_and(|got| self.equal(got, expect)))
            }
            (Value::Array(got), Value::Array(expect)) => {
                got.len() == expect.len()
                    && got.iter().zip(expect).all(|(got, expect)| self.equal(got, expect))
            }
            (Value::Number(got), Value::Number(expect)) => got.as_f64() == expect.as_f64(),
            (Value::String(got), Value::String(expect)) => match expect.as_str() {
                "$uuid" => got.len() == 36,
                // Six digits of a second, UTC.
                "$timestamp" => got.len() == 27 && got.ends_with('Z') && got.as_bytes()[19] == b'.',
                _ => *got == self.filled(expect),
            },
            (Value::Number(_), Value::String(expect)) => expect == "$number",
            (got, expect) => got == expect,
        }
    }

    /// The text with what was captured in place of `${name}`.
    fn filled(&self, text: &str) -> String {
        let fill =
            |text: String, (name, value): (&String, &String)| text.replace(&format!("${{{name}}}"), value);
        self.captured.iter().fold(text.to_owned(), fill)
    }
}

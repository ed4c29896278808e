//! The documents say what is so: every test that they name exists, every difference is told, and the published
//! description is the one that is served.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "corpus/differences.rs"]
#[allow(dead_code, reason = "the answers are the corpus test's")]
mod differences;

use std::fs;
use std::path::{Path, PathBuf};

use differences::DIFFERENCES;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/prefect.md")).unwrap()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = page();
    // `crates/x/tests/y.rs::name`, in code.
    let named: Vec<(&str, &str)> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs"))
        .collect();
    assert!(named.len() > 10, "the page names its tests");
    for (file, test) in named {
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let declared =
            text.split("#[test]").skip(1).any(|rest| rest.trim_start().starts_with(&format!("fn {test}()")));
        assert!(declared, "{file} has no test {test}");
    }
}

#[test]
fn every_difference_is_told_with_its_reason() {
    let page = page();
    for difference in DIFFERENCES {
        let row = page
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{}`", difference.record)));
        let row = row.unwrap_or_else(|| panic!("docs/prefect.md does not tell of {}", difference.record));
        assert!(
            row.contains(difference.why),
            "{}: {:?} is not what the page says: {row}",
            difference.record,
            difference.why
        );
    }
}

#[test]
fn the_description_that_is_kept_is_the_one_that_is_served() {
    let kept = fs::read_to_string(root().join("docs/prefect-openapi.json")).unwrap();
    let served = serde_json::to_string_pretty(&admit_prefect::document()).unwrap() + "\n";
    assert!(kept == served, "docs/prefect-openapi.json is stale: run `cargo xtask openapi`");
}

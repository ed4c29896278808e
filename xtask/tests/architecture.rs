//! ARCHITECTURE.md is kept true: its code map lists the crates that there are, its invariants name tests that there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The names in `ticks` of a text.
fn ticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_code_map_lists_the_crates_that_there_are() {
    let text = architecture();
    let listed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .filter_map(|line| line.split('`').next())
        .collect();
    let folders = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap());
    let mut there: BTreeSet<String> = folders
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| format!("crates/{}", entry.file_name().into_string().unwrap()))
        .collect();
    there.insert("xtask".into());
    let listed: BTreeSet<String> = listed
        .into_iter()
        .filter(|name| name.starts_with("crates/") || *name == "xtask")
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn every_invariant_names_tests_that_there_are() {
    let text = architecture();
    let table = text.split("## Invariants").nth(1).expect("a section on invariants");
    let sources = sources(&root().join("crates"));
    let mut numbers = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| invariant")) {
        let mut cells = row.trim_matches('|').split('|');
        let (invariant, tests) = (cells.next().unwrap().trim(), cells.next().unwrap());
        numbers
            .insert(invariant.split(' ').next().unwrap().parse::<u32>().expect("rows begin with a number"));
        let names: Vec<&str> = ticked(tests).collect();
        assert!(!names.is_empty(), "no test is named for: {invariant}");
        for name in names {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "there is no test {name}, named for: {invariant}"
            );
        }
    }
    assert_eq!(numbers, (1..=15).collect(), "every invariant of the design has its row");
}

/// All Rust sources below a folder, in one text.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            text += &sources(&entry);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(entry).unwrap();
        }
    }
    text
}

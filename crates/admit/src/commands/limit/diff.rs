//! What applying a file would change.

use std::collections::BTreeMap;

use admit_client::{Limit, LimitSpec};
use serde::Serialize;

use super::definition::fields;
use super::file::SOURCE;
use crate::output::{BOLD, DIM, GREEN, RED, YELLOW, clean, paint};

/// One change, ready to be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// There is no such limit yet.
    Create {
        /// The limit's name.
        name: String,
        /// Its definition.
        #[serde(skip)]
        spec: Box<LimitSpec>,
        /// Its fields in words.
        fields: BTreeMap<&'static str, String>,
    },
    /// The limit is defined otherwise.
    Update {
        /// The limit's name.
        name: String,
        /// Its definition from now on.
        #[serde(skip)]
        spec: Box<LimitSpec>,
        /// What was compared.
        #[serde(skip)]
        before: Box<Limit>,
        /// The fields that differ: before and after.
        fields: BTreeMap<&'static str, [String; 2]>,
    },
    /// A file made the limit, and this one does not name it.
    Remove {
        /// The limit's name.
        name: String,
        /// What was compared.
        #[serde(skip)]
        before: Box<Limit>,
    },
}

impl Change {
    /// The limit's name.
    pub fn name(&self) -> &str {
        match self {
            Change::Create { name, .. } | Change::Update { name, .. } | Change::Remove { name, .. } => name,
        }
    }
}

/// All that differs between a file and a server.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// What is to be done, in the order of names; removals last.
    pub changes: Vec<Change>,
    /// Limits that are as the file says.
    pub unchanged: usize,
    /// Limits that the file does not name and that stay.
    pub kept: Vec<String>,
}

/// Compares the limits of a file with those of a server. `prune`: those that a file made are removed when
/// this one does not name them.
pub fn diff(wanted: Vec<LimitSpec>, present: Vec<Limit>, prune: bool) -> Diff {
    let mut present: BTreeMap<String, Limit> =
        present.into_iter().map(|l| (l.spec.name.clone(), l)).collect();
    let mut diff = Diff { changes: Vec::new(), unchanged: 0, kept: Vec::new() };
    for mut spec in wanted {
        let name = spec.name.clone();
        let Some(limit) = present.remove(&name) else {
            let default = fields(&LimitSpec::new(&name, spec.max));
            let said = fields(&spec).into_iter().zip(default);
            let fields =
                said.filter(|(now, usual)| now != usual || now.0 == "max").map(|(now, _)| now).collect();
            diff.changes.push(Change::Create { name, spec: Box::new(spec), fields });
            continue;
        };
        // Whoever made it stays its owner.
        spec.source.clone_from(&limit.spec.source);
        let pairs = fields(&limit.spec).into_iter().zip(fields(&spec));
        let fields: BTreeMap<_, _> =
            pairs.filter(|(before, after)| before != after).map(|(b, a)| (b.0, [b.1, a.1])).collect();
        if fields.is_empty() {
            diff.unchanged += 1;
        } else {
            diff.changes.push(Change::Update { name, spec: Box::new(spec), before: Box::new(limit), fields });
        }
    }
    for (name, limit) in present {
        if prune && limit.spec.source == SOURCE {
            diff.changes.push(Change::Remove { name, before: Box::new(limit) });
        } else {
            diff.kept.push(name);
        }
    }
    diff
}

impl Diff {
    /// It in words, a line a change.
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        for change in &self.changes {
            match change {
                Change::Create { name, fields, .. } => {
                    lines.push(paint(GREEN, format_args!("+ {}", clean(name))));
                    lines.extend(fields.iter().map(|(field, value)| format!("    {field:<11}  {value}")));
                }
                Change::Update { name, fields, .. } => {
                    lines.push(paint(YELLOW, format_args!("~ {}", clean(name))));
                    let line = |(field, [before, after]): (&&str, &[String; 2])| {
                        format!("    {field:<11}  {} -> {}", paint(DIM, before), paint(BOLD, after))
                    };
                    lines.extend(fields.iter().map(line));
                }
                Change::Remove { name, .. } => lines.push(paint(RED, format_args!("- {}", clean(name)))),
            }
        }
        let count = |f: fn(&Change) -> bool| self.changes.iter().filter(|change| f(change)).count();
        lines.push(format!(
            "{} to create, {} to change, {} to remove, {} unchanged, {} not in the file",
            count(|c| matches!(c, Change::Create { .. })),
            count(|c| matches!(c, Change::Update { .. })),
            count(|c| matches!(c, Change::Remove { .. })),
            self.unchanged,
            self.kept.len(),
        ));
        lines.join("\n")
    }
}

//! JSON as Prefect's server reads it: objects keep the order of their members, numbers their digits, and a
//! mistake in the text is told in the words of Python's `json` module, which clients see.

mod parse;

use std::fmt::Write;

pub(crate) use parse::{ParseError, parse};

/// A value of a request's body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent, as it was written.
    Int(Box<str>),
    /// Any other number, and how it was written; `NaN` and infinities, which Python reads too.
    Float(f64, Box<str>),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object: no two members of the same name.
    Object(Vec<(String, Json)>),
    /// A body that says it is no JSON.
    Other(String),
}

impl Json {
    /// The member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        match self {
            Json::Object(members) => {
                members.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub(crate) fn int(value: impl Into<i64>) -> Json {
        Json::Int(value.into().to_string().into())
    }

    /// An object of these members.
    pub(crate) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
        Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The value as compact JSON. What JSON cannot say (`NaN`) is `null`.
    pub(crate) fn write(&self, to: &mut String) {
        match self {
            Json::Null => to.push_str("null"),
            Json::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
            Json::Int(digits) => to.push_str(digits),
            Json::Float(value, text) => to.push_str(if value.is_finite() { text } else { "null" }),
            Json::Text(text) | Json::Other(text) => write_text(text, to),
            Json::List(items) => {
                to.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        to.push(',');
                    }
                    item.write(to);
                }
                to.push(']');
            }
            Json::Object(members) => {
                to.push('{');
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        to.push(',');
                    }
                    write_text(name, to);
                    to.push(':');
                    value.write(to);
                }
                to.push('}');
            }
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

fn write_text(text: &str, to: &mut String) {
    to.push('"');
    for char in text.chars() {
        match char {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            control if control < ' ' => {
                // Writing into a String cannot fail.
                let _ = write!(to, "\\u{:04x}", u32::from(control));
            }
            other => to.push(other),
        }
    }
    to.push('"');
}

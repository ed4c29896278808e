//! Coercion of single values, pydantic's "lax" rules.

use super::{Fault, NamePattern, Value, parse_uuid};
use crate::json::Json;

/// What a number must be besides a number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds<T> {
    /// At least this.
    pub(crate) at_least: Option<T>,
    /// More than this.
    pub(crate) more_than: Option<T>,
    /// At most this.
    pub(crate) at_most: Option<T>,
}

impl<T> Bounds<T> {
    /// None.
    pub(crate) const ANY: Bounds<T> = Bounds { at_least: None, more_than: None, at_most: None };
}

/// A number as bounds and messages show it.
pub(crate) trait Number: PartialOrd + Copy {
    /// In a message: without a fraction that says nothing.
    fn shown(self) -> String;
    /// In JSON.
    fn json(self) -> Json;
}

impl Number for i64 {
    fn shown(self) -> String {
        self.to_string()
    }

    fn json(self) -> Json {
        Json::int(self)
    }
}

impl Number for f64 {
    fn shown(self) -> String {
        self.to_string()
    }

    fn json(self) -> Json {
        Json::Float(self, format!("{self:?}").into())
    }
}

impl<T: Number> Bounds<T> {
    fn check(&self, value: T, given: &Json) -> Result<T, Fault> {
        // What cannot be compared (NaN) is within no bounds.
        let broken = |bound: Option<T>, fits: fn(&T, &T) -> bool| bound.filter(|bound| !fits(&value, bound));
        let rules = [
            (broken(self.at_most, T::le), "less_than_equal", "less than or equal to", "le"),
            (broken(self.at_least, T::ge), "greater_than_equal", "greater than or equal to", "ge"),
            (broken(self.more_than, T::gt), "greater_than", "greater than", "gt"),
        ];
        let broken =
            rules.into_iter().find_map(|(bound, kind, words, name)| Some((bound?, kind, words, name)));
        broken.map_or(Ok(value), |(bound, kind, words, name)| {
            let message = format!("Input should be {words} {}", bound.shown());
            Err(Fault::new(kind, message, given).with(name, bound.json()))
        })
    }
}

pub(super) fn text(given: &Json, pattern: Option<&NamePattern>) -> Result<Value, Fault> {
    let Json::Text(text) = given else {
        return Err(Fault::new("string_type", "Input should be a valid string", given));
    };
    let breaks =
        |pattern: &NamePattern| text.contains(pattern.banned) || (text.is_empty() && !pattern.may_be_empty);
    if let Some(NamePattern { pattern, .. }) = pattern.filter(|pattern| breaks(pattern)) {
        let message = format!("String should match pattern '{pattern}'");
        return Err(Fault::new("string_pattern_mismatch", message, given).with("pattern", (*pattern).into()));
    }
    if let Some(reason) = pattern.and_then(|pattern| cannot_be(text, pattern)) {
        return Err(Fault::value_error(&reason, given));
    }
    Ok(Value::Text(text.clone()))
}

/// Why a name that the real server takes cannot be one here.
fn cannot_be(name: &str, pattern: &NamePattern) -> Option<String> {
    if name.len() > pattern.max_bytes {
        return Some(format!("it has {} bytes; give at most {}", name.len(), pattern.max_bytes));
    }
    name.chars().any(char::is_control).then(|| "it has control characters; leave them out".to_owned())
}

pub(super) fn int(given: &Json, bounds: &Bounds<i64>) -> Result<Value, Fault> {
    let unparsable = || {
        let message = "Input should be a valid integer, unable to parse string as an integer";
        Fault::new("int_parsing", message, given)
    };
    let value = match given {
        Json::Int(digits) => digits.parse().map_err(|_| too_large(given, digits.starts_with('-')))?,
        Json::Bool(value) => i64::from(*value),
        Json::Float(value, _) => whole(*value, given)?,
        Json::Text(text) => {
            let digits = digits(text).ok_or_else(unparsable)?;
            digits.parse().map_err(|_| too_large(given, digits.starts_with('-')))?
        }
        Json::Null | Json::List(_) | Json::Object(_) | Json::Other(_) => {
            return Err(Fault::new("int_type", "Input should be a valid integer", given));
        }
    };
    bounds.check(value, given).map(Value::Int)
}

/// What the real server takes and then cannot store.
fn too_large(given: &Json, is_negative: bool) -> Fault {
    let (kind, words, name, bound) = if is_negative {
        ("greater_than_equal", "greater than or equal to", "ge", i64::MIN)
    } else {
        ("less_than_equal", "less than or equal to", "le", i64::MAX)
    };
    Fault::new(kind, format!("Input should be {words} {bound}"), given).with(name, bound.json())
}

/// The first whole number that is beyond 64 bits.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

fn whole(value: f64, given: &Json) -> Result<i64, Fault> {
    if !value.is_finite() {
        return Err(not_finite(given));
    }
    if value.fract() != 0.0 {
        let message = "Input should be a valid integer, got a number with a fractional part";
        return Err(Fault::new("int_from_float", message, given));
    }
    if value.abs() >= BEYOND {
        let message = "Unable to parse input string as an integer, exceeded maximum size";
        return Err(Fault::new("int_parsing_size", message, given));
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
    Ok(value as i64)
}

/// The digits of a text that stands for a whole number: spaces around it, a sign, single underscores between
/// digits and a fraction of zeros are allowed.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let whole = match rest.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|zero| zero == b'0') => whole,
        Some(_) => return None,
        None => rest,
    };
    without_underscores(whole)
        .filter(|whole| whole.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|whole| format!("{sign}{whole}"))
}

/// The text without its underscores, if there is none but single ones between other characters.
fn without_underscores(text: &str) -> Option<String> {
    let fits = !text.is_empty() && !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    fits.then(|| text.replace('_', ""))
}

pub(super) fn float(given: &Json, bounds: &Bounds<f64>) -> Result<Value, Fault> {
    let unparsable = || {
        let message = "Input should be a valid number, unable to parse string as a number";
        Fault::new("float_parsing", message, given)
    };
    let value = match given {
        Json::Int(digits) => digits.parse().map_err(|_| unparsable())?,
        Json::Bool(value) => f64::from(u8::from(*value)),
        Json::Float(value, _) => *value,
        Json::Text(text) => {
            let text = without_underscores(text.trim()).ok_or_else(unparsable)?;
            text.parse().map_err(|_| unparsable())?
        }
        Json::Null | Json::List(_) | Json::Object(_) | Json::Other(_) => {
            return Err(Fault::new("float_type", "Input should be a valid number", given));
        }
    };
    bounds
        .check(value, given)
        .and_then(|value| if value.is_finite() { Ok(Value::Float(value)) } else { Err(not_finite(given)) })
}

fn not_finite(given: &Json) -> Fault {
    Fault::new("finite_number", "Input should be a finite number", given)
}

pub(super) fn bool(given: &Json) -> Result<Value, Fault> {
    let no_truth = || Fault::new("bool_type", "Input should be a valid boolean", given);
    let unclear = || {
        let message = "Input should be a valid boolean, unable to interpret input";
        Fault::new("bool_parsing", message, given)
    };
    let value = match given {
        Json::Bool(value) => *value,
        Json::Int(digits) => match digits.parse::<i64>() {
            Ok(0) => false,
            Ok(1) => true,
            Ok(_) => return Err(unclear()),
            Err(_) => return Err(no_truth()),
        },
        Json::Float(value, _) if *value == 0.0 => false,
        Json::Float(value, _) if *value == 1.0 => true,
        Json::Float(value, _) if value.abs() < BEYOND && value.fract() == 0.0 => return Err(unclear()),
        Json::Text(text) => match text.to_ascii_lowercase().as_str() {
            "0" | "off" | "f" | "false" | "n" | "no" => false,
            "1" | "on" | "t" | "true" | "y" | "yes" => true,
            _ => return Err(unclear()),
        },
        _ => return Err(no_truth()),
    };
    Ok(Value::Bool(value))
}

pub(super) fn id(given: &Json) -> Result<Value, Fault> {
    match given {
        Json::Text(text) => parse_uuid(text).map(Value::Id).map_err(|reason| {
            let message = format!("Input should be a valid UUID, {reason}");
            Fault::new("uuid_parsing", message, given).with("error", reason.as_str().into())
        }),
        _ => Err(Fault::new("uuid_type", "UUID input should be a string, bytes or UUID object", given)),
    }
}

pub(super) fn one_of(given: &Json, words: &[&str]) -> Result<Value, Fault> {
    if let Json::Text(text) = given
        && words.contains(&text.as_str())
    {
        return Ok(Value::Text(text.clone()));
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    let fault = Fault::new("literal_error", format!("Input should be {expected}"), given);
    Err(fault.with("expected", Json::Text(expected)))
}

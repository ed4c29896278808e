//! Checking a body against a declared form, as pydantic does behind Prefect's server: what it coerces is
//! coerced, what it refuses is refused with its type, place and words, in its order.
//!
//! Forms are tables ([`crate::forms`]); the published OpenAPI document is made of the same ones.

mod fault;
mod scalar;
mod uuid;

use ::uuid::Uuid;

use crate::json::Json;
pub(crate) use fault::{Fault, Step};
pub(crate) use scalar::Bounds;
pub(crate) use uuid::parse_uuid;

/// Members of an object that nobody asked for are refused one by one, up to so many.
const MAX_FAULTS: usize = 100;

/// What a route's body has to be.
#[derive(Debug)]
pub(crate) struct Form {
    /// What the published document calls it.
    pub(crate) name: &'static str,
    /// What becomes of members that are not among the fields, and of `null`.
    pub(crate) shape: Shape,
    /// Its fields.
    pub(crate) fields: &'static [Field],
}

/// The two ways in which Prefect's server takes a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The body is one thing: it must be there, and further members are refused.
    Model,
    /// Each member is a parameter of its own: further ones are ignored, and `null` is as good as nothing.
    Parameters,
}

/// A field of a form.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether it must be there.
    pub(crate) presence: Presence,
    /// What it is for, in the published document.
    pub(crate) about: &'static str,
}

/// Whether a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It must.
    Required,
    /// It need not; `null` is no value of it.
    Optional,
    /// It need not, and may be `null`.
    Nullable,
}

/// What a field holds.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A text; one that is matched as a name where a pattern is given.
    Text(Option<&'static NamePattern>),
    /// A whole number.
    Int(Bounds<i64>),
    /// How many rows a page has: wrong ones are refused in words of their own, before anything else.
    PageSize,
    /// A number.
    Float(Bounds<f64>),
    /// A truth.
    Bool,
    /// A UUID.
    Id,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any number of these.
    List(&'static Kind),
    /// An object of these fields and no others.
    Object(&'static [Field]),
}

/// Which names are allowed.
#[derive(Debug)]
pub(crate) struct NamePattern {
    /// As a regular expression, for people.
    pub(crate) pattern: &'static str,
    /// Characters that must not occur.
    pub(crate) banned: &'static [char],
    /// Whether it may be empty.
    pub(crate) may_be_empty: bool,
    /// How long it may be.
    pub(crate) max_bytes: usize,
}

/// A value that passed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Id(Uuid),
    List(Vec<Value>),
    Object(Values),
}

/// The fields of a body that passed. What is absent, or a parameter's `null`, is not among them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values(Vec<(&'static str, Value)>);

/// Why a body is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// These faults.
    Faults(Vec<Fault>),
    /// In one sentence.
    Sentence(String),
}

/// The most rows of a page.
pub(crate) const MAX_PAGE_SIZE: i64 = 200;

/// Checks a body; none: there was none.
pub(crate) fn check(form: &Form, body: Option<&Json>) -> Result<Values, Refused> {
    let mut check = Check { faults: Vec::new(), at: vec![Step::Name("body")] };
    let body = body.filter(|body| **body != Json::Null);
    let values = match form.shape {
        Shape::Model => match body {
            None => {
                check.fault(Fault::missing(&Json::Null));
                None
            }
            Some(body) => check.object(form.fields, body),
        },
        Shape::Parameters => {
            page_size(form, body)?;
            Some(check.parameters(form.fields, body))
        }
    };
    match values {
        Some(values) if check.faults.is_empty() => Ok(values),
        _ => Err(Refused::Faults(check.faults)),
    }
}

/// The size of a page is judged before the other parameters are.
fn page_size(form: &Form, body: Option<&Json>) -> Result<(), Refused> {
    let wanted = form.fields.iter().find(|field| matches!(field.kind, Kind::PageSize));
    let given = wanted.and_then(|field| body?.get(field.name)).filter(|given| **given != Json::Null);
    let size = match given {
        // More digits than a number has here are too many of them all the same.
        Some(Json::Int(digits)) if digits.starts_with('-') => digits.parse().unwrap_or(i64::MIN),
        Some(Json::Int(digits)) => digits.parse().unwrap_or(i64::MAX),
        Some(other) => match scalar::int(other, &Bounds::ANY) {
            Ok(Value::Int(size)) => size,
            _ => return Ok(()),
        },
        None => return Ok(()),
    };
    let refuse = |rule: String| Err(Refused::Sentence(format!("Invalid limit: must be {rule}.")));
    match size {
        ..0 => refuse("greater than or equal to 0".to_owned()),
        0..=MAX_PAGE_SIZE => Ok(()),
        _ => refuse(format!("less than or equal to {MAX_PAGE_SIZE}")),
    }
}

struct Check {
    faults: Vec<Fault>,
    at: Vec<Step>,
}

impl Check {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault.at(&self.at));
        }
    }

    fn within<T>(&mut self, step: Step, check: impl FnOnce(&mut Check) -> T) -> T {
        self.at.push(step);
        let checked = check(self);
        self.at.pop();
        checked
    }

    fn parameters(&mut self, fields: &'static [Field], body: Option<&Json>) -> Values {
        let mut values = Values::default();
        let body = body.filter(|body| !matches!(body, Json::Other(_)));
        for field in fields {
            self.within(Step::Name(field.name), |check| {
                let given = match body {
                    // Whatever is no object has no members, not even those that need not be there.
                    Some(other) if !matches!(other, Json::Object(_)) => {
                        return check.fault(Fault::missing(&Json::Null));
                    }
                    body => body.and_then(|body| body.get(field.name)).filter(|given| **given != Json::Null),
                };
                match given {
                    Some(given) => {
                        if let Some(value) = check.value(&field.kind, given) {
                            values.0.push((field.name, value));
                        }
                    }
                    None if field.presence == Presence::Required => check.fault(Fault::missing(&Json::Null)),
                    None => {}
                }
            });
        }
        values
    }

    fn object(&mut self, fields: &'static [Field], body: &Json) -> Option<Values> {
        let Json::Object(members) = body else {
            self.fault(Fault::not_an_object(body));
            return None;
        };
        let mut values = Values::default();
        for field in fields {
            self.within(Step::Name(field.name), |check| match body.get(field.name) {
                Some(Json::Null) if field.presence == Presence::Nullable => {
                    values.0.push((field.name, Value::Null))
                }
                Some(given) => {
                    if let Some(value) = check.value(&field.kind, given) {
                        values.0.push((field.name, value));
                    }
                }
                None if field.presence == Presence::Required => check.fault(Fault::missing(body)),
                None => {}
            });
        }
        for (name, value) in members {
            if !fields.iter().any(|field| field.name == name) {
                self.within(Step::Member(name.clone()), |check| check.fault(Fault::extra(value)));
            }
        }
        Some(values)
    }

    fn value(&mut self, kind: &'static Kind, given: &Json) -> Option<Value> {
        let checked = match kind {
            Kind::Text(pattern) => scalar::text(given, *pattern),
            Kind::Int(bounds) => scalar::int(given, bounds),
            Kind::PageSize => scalar::int(given, &Bounds::ANY),
            Kind::Float(bounds) => scalar::float(given, bounds),
            Kind::Bool => scalar::bool(given),
            Kind::Id => scalar::id(given),
            Kind::OneOf(words) => scalar::one_of(given, words),
            Kind::List(of) => return self.list(of, given),
            Kind::Object(fields) => return self.object(fields, given).map(Value::Object),
        };
        checked.map_err(|fault| self.fault(fault)).ok()
    }

    fn list(&mut self, of: &'static Kind, given: &Json) -> Option<Value> {
        let Json::List(items) = given else {
            self.fault(Fault::new("list_type", "Input should be a valid list", given));
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            values.extend(self.within(Step::Index(n), |check| check.value(of, item)));
        }
        Some(Value::List(values))
    }
}

impl Values {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether any field was given as `null`.
    pub(crate) fn has_null(&self) -> bool {
        self.0.iter().any(|(_, value)| *value == Value::Null)
    }

    /// A text that was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that was given.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that was given.
    pub(crate) fn float(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A truth that was given.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A UUID that was given.
    pub(crate) fn id(&self, name: &str) -> Option<Uuid> {
        match self.get(name)? {
            Value::Id(id) => Some(*id),
            _ => None,
        }
    }

    /// An object that was given.
    pub(crate) fn object(&self, name: &str) -> Option<&Values> {
        match self.get(name)? {
            Value::Object(values) => Some(values),
            _ => None,
        }
    }

    /// The texts of a list, each once, in order.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let Some(Value::List(items)) = self.get(name) else { return Vec::new() };
        let mut seen = std::collections::HashSet::new();
        let texts =
            items.iter().filter_map(|item| if let Value::Text(text) = item { Some(text) } else { None });
        texts.filter(|text| seen.insert(text.as_str())).cloned().collect()
    }

    /// The UUIDs of a list.
    pub(crate) fn ids(&self, name: &str) -> Vec<Uuid> {
        let Some(Value::List(items)) = self.get(name) else { return Vec::new() };
        items.iter().filter_map(|item| if let Value::Id(id) = item { Some(*id) } else { None }).collect()
    }
}

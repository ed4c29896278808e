//! One fault of a body: what pydantic calls an error.

use crate::json::Json;

/// A step on the way to what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// A declared name.
    Name(&'static str),
    /// A member that is not declared.
    Member(String),
    /// A place in a list, or in the text.
    Index(usize),
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault(Box<Parts>);

#[derive(Debug, Clone, PartialEq)]
struct Parts {
    kind: &'static str,
    place: Vec<Step>,
    message: String,
    input: Json,
    context: Option<(&'static str, Json)>,
}

impl Fault {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>, input: &Json) -> Fault {
        let (message, input) = (message.into(), input.clone());
        Fault(Box::new(Parts { kind, place: Vec::new(), message, input, context: None }))
    }

    pub(crate) fn with(mut self, name: &'static str, value: Json) -> Fault {
        self.0.context = Some((name, value));
        self
    }

    pub(crate) fn at(mut self, place: &[Step]) -> Fault {
        self.0.place = place.to_vec();
        self
    }

    pub(crate) fn missing(input: &Json) -> Fault {
        Fault::new("missing", "Field required", input)
    }

    pub(crate) fn extra(input: &Json) -> Fault {
        Fault::new("extra_forbidden", "Extra inputs are not permitted", input)
    }

    pub(crate) fn not_an_object(input: &Json) -> Fault {
        let message = "Input should be a valid dictionary or object to extract fields from";
        Fault::new("model_attributes_type", message, input)
    }

    /// A text that is no JSON, from this character on.
    pub(crate) fn broken_json(message: &str, at: usize) -> Fault {
        let fault = Fault::new("json_invalid", "JSON decode error", &Json::Object(Vec::new()));
        fault.with("error", message.into()).at(&[Step::Name("body"), Step::Index(at)])
    }

    /// A value that is well-formed and still cannot be.
    pub(crate) fn value_error(reason: &str, input: &Json) -> Fault {
        let fault = Fault::new("value_error", format!("Value error, {reason}"), input);
        fault.with("error", Json::Object(Vec::new()))
    }

    pub(crate) fn to_json(&self) -> Json {
        let step = |step: &Step| match step {
            Step::Name(name) => Json::from(*name),
            Step::Member(name) => Json::Text(name.clone()),
            Step::Index(n) => Json::Int(n.to_string().into()),
        };
        let mut members = vec![
            ("type".to_owned(), self.0.kind.into()),
            ("loc".to_owned(), Json::List(self.0.place.iter().map(step).collect())),
            ("msg".to_owned(), Json::Text(self.0.message.clone())),
            ("input".to_owned(), self.0.input.clone()),
        ];
        if let Some((name, value)) = &self.0.context {
            members.push(("ctx".to_owned(), Json::object([(name, value.clone())])));
        }
        Json::Object(members)
    }
}

//! The description of this API that the port publishes, made of the tables by which it works.

use axum::http::{Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Answered};
use crate::request::API_VERSION;
use crate::routes::{Call, ROUTES, Route};
use crate::validate::{Bounds, Field, Form, Kind, Presence, Shape};

/// Where it is.
pub(crate) const PATHS: [&str; 2] = ["/openapi.json", "/api/openapi.json"];

/// `GET /openapi.json`
pub(crate) fn answer(method: &Method) -> Answered {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(Answer::json(StatusCode::OK, &document()));
    }
    let no = Answer::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    Err(no.with(header::ALLOW, "GET, HEAD"))
}

/// The OpenAPI 3.1 document of this API.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas = answers();
    for route in ROUTES {
        let path = format!("/api{}", route.path.replace("{uuid}", "{id}"));
        let method = route.method.as_str().to_ascii_lowercase();
        if let Some(operations) = paths.entry(path).or_insert_with(|| json!({})).as_object_mut() {
            operations.insert(method, operation(route));
        }
        if let Some(form) = route.form {
            schemas.insert(form.name.to_owned(), object(form.fields, form.shape == Shape::Model, form.name));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Admit: Prefect's concurrency API",
            "version": API_VERSION,
            "description": "What Prefect's clients need for concurrency limits, on Admit's engine. \
                            What a limit or a lease is here, it is in Admit's native API, too."
        },
        "paths": paths,
        "components": { "schemas": schemas }
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": format!("{:?}", route.call),
        "summary": route.about,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Some(form) = route.form {
        operation["requestBody"] = json!({
            "required": is_required(form),
            "content": { "application/json": { "schema": reference(form.name) } }
        });
    }
    operation
}

fn is_required(form: &Form) -> bool {
    form.shape == Shape::Model || form.fields.iter().any(|field| field.presence == Presence::Required)
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| match name {
            "uuid" => parameter("id", "path", true, json!({ "type": "string", "format": "uuid" })),
            "lease_id" => parameter(name, "path", true, json!({ "type": "string", "format": "uuid" })),
            _ => parameter(name, "path", true, json!({ "type": "string" })),
        })
        .collect();
    if route.call == Call::CsrfToken {
        parameters.push(parameter("client", "query", true, json!({ "type": "string" })));
    }
    parameters.push(parameter("x-prefect-api-version", "header", false, json!({ "type": "string" })));
    parameters
}

fn parameter(name: &str, place: &str, required: bool, schema: Value) -> Value {
    json!({ "name": name, "in": place, "required": required, "schema": schema })
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let mut add = |status: u16, about: &str, schema: Option<Value>| {
        let mut response = json!({ "description": about });
        if let Some(schema) = schema {
            response["content"] = json!({ "application/json": { "schema": schema } });
        }
        responses.insert(status.to_string(), response);
    };
    let list = |of: &str| json!({ "type": "array", "items": reference(of) });
    let null = json!({ "type": "null" });
    match route.call {
        Call::Health => add(200, "It is there.", Some(json!({ "type": "boolean" }))),
        Call::Ready => add(200, "It can work.", Some(json!({ "type": "object" }))),
        Call::Version | Call::AdminVersion => add(200, "The version.", Some(json!({ "type": "string" }))),
        Call::CsrfToken => {}
        Call::TagCreate => {
            add(200, "The tag had a limit: it was changed.", Some(reference("ConcurrencyLimit")));
            add(201, "The limit was made.", Some(reference("ConcurrencyLimit")));
        }
        Call::TagRead | Call::TagReadById => add(200, "The limit.", Some(reference("ConcurrencyLimit"))),
        Call::TagFilter => add(200, "The limits.", Some(list("ConcurrencyLimit"))),
        Call::TagReset => add(200, "Done.", Some(null)),
        Call::TagDelete | Call::TagDeleteById => add(200, "Done.", Some(null)),
        Call::TagIncrement | Call::Increment => {
            add(200, "Slots of these limits were taken.", Some(list("LimitBrief")))
        }
        Call::TagDecrement | Call::Decrement => {
            add(200, "Slots of these limits were given back.", Some(list("LimitBrief")))
        }
        Call::LimitCreate => add(201, "The limit was made.", Some(reference("ConcurrencyLimitV2"))),
        Call::LimitRead => add(200, "The limit.", Some(reference("GlobalConcurrencyLimit"))),
        Call::LimitFilter => add(200, "The limits.", Some(list("GlobalConcurrencyLimit"))),
        Call::LimitUpdate | Call::LimitDelete | Call::DecrementWithLease | Call::Renew => {
            add(204, "Done.", None)
        }
        Call::IncrementWithLease => add(200, "The lease.", Some(reference("Leased"))),
    }
    if route.path.contains('{') && route.call != Call::Renew {
        add(404, "There is no such limit.", Some(reference("Refusal")));
    }
    if matches!(
        route.call,
        Call::LimitCreate | Call::LimitUpdate | Call::LimitDelete | Call::TagDelete | Call::TagDeleteById
    ) {
        add(
            409,
            "It conflicts with a limit that exists, or whose owner is elsewhere.",
            Some(reference("Refusal")),
        );
    }
    if matches!(route.call, Call::TagIncrement | Call::Increment | Call::IncrementWithLease) {
        add(423, "Others have the slots; `Retry-After` says when to ask again.", Some(reference("Refusal")));
    }
    if route.call == Call::Renew {
        add(410, "The lease has ended.", Some(reference("Refusal")));
    }
    if route.form.is_some() {
        let either = json!({ "anyOf": [reference("HTTPValidationError"), reference("Refusal")] });
        add(422, "The body does not fit, or asks what cannot be.", Some(either));
    } else if route.call == Call::CsrfToken {
        add(422, "None is needed.", Some(reference("Refusal")));
    }
    Value::Object(responses)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn object(fields: &[Field], is_closed: bool, title: &str) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| field.presence == Presence::Required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "title": title, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if is_closed {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut schema = schema(&field.kind);
    schema["description"] = json!(field.about);
    schema
}

fn schema(kind: &Kind) -> Value {
    match kind {
        Kind::Text(None) => json!({ "type": "string" }),
        Kind::Text(Some(pattern)) => {
            json!({ "type": "string", "pattern": pattern.pattern, "maxLength": pattern.max_bytes })
        }
        Kind::Int(bounds) => bounded("integer", bounds, |bound| json!(bound)),
        Kind::PageSize => {
            json!({ "type": "integer", "minimum": 0, "maximum": crate::validate::MAX_PAGE_SIZE })
        }
        Kind::Float(bounds) => bounded("number", bounds, |bound| json!(bound)),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Id => json!({ "type": "string", "format": "uuid" }),
        Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        Kind::List(of) => json!({ "type": "array", "items": schema(of) }),
        Kind::Object(fields) => object(fields, true, "Holder"),
    }
}

fn bounded<T: Copy>(kind: &str, bounds: &Bounds<T>, show: impl Fn(T) -> Value) -> Value {
    let mut schema = json!({ "type": kind });
    let rules =
        [("minimum", bounds.at_least), ("exclusiveMinimum", bounds.more_than), ("maximum", bounds.at_most)];
    for (name, bound) in rules {
        if let Some(bound) = bound {
            schema[name] = show(bound);
        }
    }
    schema
}

/// What answers look like.
fn answers() -> Map<String, Value> {
    let id = json!({ "type": "string", "format": "uuid" });
    let time = json!({ "type": "string", "format": "date-time" });
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer" });
    let number = json!({ "type": "number" });
    let truth = json!({ "type": "boolean" });
    let row = |fields: &[(&str, &Value)]| {
        let properties: Map<String, Value> =
            fields.iter().map(|(name, schema)| ((*name).to_owned(), (*schema).clone())).collect();
        let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    };
    let common = [("id", &id), ("created", &time), ("updated", &time)];
    let ids = json!({ "type": "array", "items": id });
    let tag =
        [&common[..], &[("tag", &text), ("concurrency_limit", &whole), ("active_slots", &ids)]].concat();
    let short = [
        &common[..],
        &[
            ("active", &truth),
            ("name", &text),
            ("limit", &whole),
            ("active_slots", &whole),
            ("slot_decay_per_second", &number),
        ],
    ]
    .concat();
    let long = [&short[..], &[("denied_slots", &whole), ("avg_slot_occupancy_seconds", &number)]].concat();
    let brief = row(&[("id", &id), ("name", &text), ("limit", &whole)]);
    let briefs = json!({ "type": "array", "items": reference("LimitBrief") });
    let fault = json!({
        "type": "object",
        "properties": {
            "loc": { "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] } },
            "msg": text, "type": text, "input": {}, "ctx": { "type": "object" }
        },
        "required": ["loc", "msg", "type"]
    });
    let faults = json!({ "type": "array", "items": reference("ValidationError") });
    let invalid = json!({
        "type": "object",
        "properties": { "exception_message": text, "exception_detail": faults, "request_body": {}, "detail": faults }
    });
    Map::from_iter([
        ("ConcurrencyLimit".to_owned(), row(&tag)),
        ("GlobalConcurrencyLimit".to_owned(), row(&short)),
        ("ConcurrencyLimitV2".to_owned(), row(&long)),
        ("LimitBrief".to_owned(), brief),
        ("Leased".to_owned(), row(&[("lease_id", &id), ("limits", &briefs)])),
        ("Refusal".to_owned(), row(&[("detail", &text)])),
        ("ValidationError".to_owned(), fault),
        ("HTTPValidationError".to_owned(), invalid),
    ])
}

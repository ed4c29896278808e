//! The OpenAPI document: what no single route says.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, OpenApi, Ref, RefOr, Required, Response, Schema};

/// What those answers mean that routes do not describe themselves, as they are the same everywhere.
const MEANINGS: [(&str, &str); 16] = [
    ("200", "Done"),
    ("201", "Made"),
    ("202", "It waits as a ticket"),
    ("204", "Done; there is nothing to say"),
    ("400", "The Host, the query or the JSON cannot be read"),
    ("401", "An access token is needed"),
    ("403", "A foreign Host or Origin, or the access token may not do this"),
    ("404", "There is no such thing"),
    ("408", "The body did not end in time"),
    ("409", "The name is taken, or there are too many"),
    ("410", "It has ended"),
    ("412", "`If-Match` or `If-None-Match` does not hold"),
    ("413", "The body is too long"),
    ("415", "The body is not `application/json`"),
    ("422", "A field is wrong; `field` names it"),
    ("503", "Too much to do, stopping, or nothing can be written"),
];

/// Completes the document of the routes: the token, what any request may be answered, and in what form.
pub(super) fn complete(document: &mut OpenApi) {
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", scheme);
    // On loopback none is needed: an empty requirement beside the token's says so.
    document.security =
        Some(vec![SecurityRequirement::default(), SecurityRequirement::new("token", [""; 0])]);
    let can_be_empty = schemas_without_required_fields(document);
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            if let Some(RefOr::T(body)) = &mut operation.request_body
                && body.content.values().any(|content| is_one_of(&can_be_empty, content))
            {
                body.required = Some(Required::False);
            }
            for status in common(path, operation) {
                let answers = &mut operation.responses.responses;
                answers.entry(status.to_owned()).or_insert_with(|| Response::default().into());
            }
            for (status, answer) in &mut operation.responses.responses {
                if let RefOr::T(answer) = answer {
                    describe(status, answer);
                }
            }
        }
    }
}

/// Where no field is needed, no body is: it counts as `{}`.
fn schemas_without_required_fields(document: &OpenApi) -> Vec<String> {
    let schemas = document.components.iter().flat_map(|components| &components.schemas);
    let optional = schemas.filter(|(_, schema)| match schema {
        RefOr::T(Schema::Object(object)) => object.required.is_empty(),
        _ => false,
    });
    optional.map(|(name, _)| format!("#/components/schemas/{name}")).collect()
}

fn is_one_of(schemas: &[String], content: &RefOr<Content>) -> bool {
    let RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) = content else { return false };
    schemas.contains(&schema.ref_location)
}

/// The errors that an operation can answer by what it takes, not by what it does.
fn common(path: &str, operation: &Operation) -> Vec<&'static str> {
    let takes_body = operation.request_body.is_some();
    let takes_anything = takes_body || operation.parameters.is_some();
    // Health alone is told to anybody, without the engine.
    let is_guarded = path != "/healthz" && path != "/readyz";
    let groups: [(bool, &[&str]); 4] = [
        (true, &["400", "403"]),
        (is_guarded, &["401", "503"]),
        (takes_anything, &["422"]),
        (takes_body, &["408", "413", "415"]),
    ];
    groups.into_iter().filter(|(applies, _)| *applies).flat_map(|(_, statuses)| statuses).copied().collect()
}

fn describe(status: &str, answer: &mut Response) {
    if answer.description.is_empty()
        && let Some((_, meaning)) = MEANINGS.iter().find(|(known, _)| *known == status)
    {
        answer.description = (*meaning).to_owned();
    }
    // Every error is a problem, and its media type says so.
    if status.starts_with(['4', '5']) {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
        answer.content.clear();
        answer.content.insert("application/problem+json".to_owned(), problem.into());
    }
}

//! Where we answer otherwise than the real server, and why.

/// One record that is answered otherwise.
pub struct Difference {
    /// Its name in the corpus.
    pub record: &'static str,
    /// What we answer.
    pub ours: Ours,
    /// Why.
    pub why: &'static str,
}

/// An answer.
pub struct Ours {
    pub status: u16,
    pub retry_after: Option<&'static str>,
    pub body: &'static str,
}

const fn differs(record: &'static str, status: u16, body: &'static str, why: &'static str) -> Difference {
    Difference { record, ours: Ours { status, retry_after: None, body }, why }
}

const fn sooner(record: &'static str, body: &'static str) -> Difference {
    let why = "Waiting is ours to order: a client is told to come back within a second, not after ten.";
    Difference { record, ours: Ours { status: 423, retry_after: Some("1.0"), body }, why }
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    differs(
        "v1/create/slash_tag",
        422,
        r#"{"exception_message":"Invalid request received.","exception_detail":[{"type":"string_pattern_mismatch","loc":["body","tag"],"msg":"String should match pattern '^[^/%&><]*$'","input":"a/b","ctx":{"pattern":"^[^/%&><]*$"}}],"request_body":{"tag":"a/b","concurrency_limit":1}}"#,
        "A tag that cannot be one is the client's mistake, not the server's (500).",
    ),
    differs(
        "v1/create/limit_int64_plus_1",
        422,
        r#"{"exception_message":"Invalid request received.","exception_detail":[{"type":"less_than_equal","loc":["body","concurrency_limit"],"msg":"Input should be less than or equal to 9223372036854775807","input":9223372036854775808,"ctx":{"le":9223372036854775807}}],"request_body":{"tag":"big","concurrency_limit":9223372036854775808}}"#,
        "A number that cannot be stored is the client's mistake, not the server's (500).",
    ),
    differs(
        "v1/create/json_nan",
        422,
        r#"{"exception_message":"Invalid request received.","exception_detail":[{"type":"finite_number","loc":["body","concurrency_limit"],"msg":"Input should be a finite number","input":null}],"request_body":{"tag":"x","concurrency_limit":null}}"#,
        "NaN is refused in words, and shown as null, instead of breaking the answer (500).",
    ),
    sooner("v1/increment/full", r#"{"detail":"Concurrency limit for the db tag has been reached"}"#),
    sooner(
        "v1/increment/two_tags_one_full",
        r#"{"detail":"Concurrency limit for the db tag has been reached"}"#,
    ),
    differs(
        "v1/read_tag/db_after_one_of_two",
        200,
        r#"{"id":"${db}","created":"$timestamp","updated":"$timestamp","tag":"db","concurrency_limit":2,"active_slots":["00000000-0000-4000-8000-000000000004"]}"#,
        "A decrement gives back what it names: the task still holds its slot of the other tag.",
    ),
    differs(
        "v2/read_name/db_after_reset",
        200,
        r#"{"id":"${db}","created":"$timestamp","updated":"$timestamp","active":true,"name":"tag:db","limit":2,"active_slots":0,"slot_decay_per_second":0.0}"#,
        "A reset frees: usage is derived from leases, no second counter is left behind.",
    ),
    differs(
        "v2/read_name/db_after_empty_override",
        200,
        r#"{"id":"${db}","created":"$timestamp","updated":"$timestamp","active":true,"name":"tag:db","limit":2,"active_slots":0,"slot_decay_per_second":0.0}"#,
        "A reset frees: usage is derived from leases, no second counter is left behind.",
    ),
    differs(
        "v1/increment/after_reset",
        200,
        r#"[{"id":"${db}","name":"db","limit":2}]"#,
        "A limit that was reset is free.",
    ),
    sooner("v2/increment_by_v1/full", r#"{"detail":"Concurrency limit for the heavy tag has been reached"}"#),
    differs(
        "v2/read/disabled_in_use",
        200,
        r#"{"id":"${db}","created":"$timestamp","updated":"$timestamp","active":false,"name":"db","limit":1,"active_slots":0,"slot_decay_per_second":0.0}"#,
        "A disabled limit counts nothing; its leases count again once it is enabled.",
    ),
    differs(
        "v2/read/after_reenable",
        200,
        r#"{"id":"${db}","created":"$timestamp","updated":"$timestamp","active":true,"name":"db","limit":1,"active_slots":0,"slot_decay_per_second":0.0}"#,
        "A lease that is released while its limit is disabled is released.",
    ),
    differs(
        "v2/increment/after_reenable",
        200,
        r#"[{"id":"${db}","name":"db","limit":1}]"#,
        "A lease that is released while its limit is disabled is released.",
    ),
    differs(
        "v2/delete/by_v1_id",
        404,
        r#"{"detail":"Concurrency limit not found"}"#,
        "The tag API removes limits of tags; it does not show others either.",
    ),
    differs("v2/delete/gone", 204, "null", "It was not removed before: see v2/delete/by_v1_id."),
];

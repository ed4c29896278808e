//! What each route's body has to be. The order of fields is the order of faults.

use admit_kernel::MAX_NAME_BYTES;

use crate::limits::TAG_PREFIX;
use crate::validate::Presence::{Nullable, Optional, Required};
use crate::validate::{Bounds, Field, Form, Kind, NamePattern, Presence, Shape};

/// Characters that separate paths and queries, which names are put into.
const BANNED: &[char] = &['/', '%', '&', '>', '<'];
const NAME: &NamePattern =
    &NamePattern { pattern: "^[^/%&><]+$", banned: BANNED, may_be_empty: false, max_bytes: MAX_NAME_BYTES };
const TAG: &NamePattern = &NamePattern {
    pattern: "^[^/%&><]*$",
    banned: BANNED,
    may_be_empty: true,
    max_bytes: MAX_NAME_BYTES - TAG_PREFIX.len(),
};

const ANY_INT: Kind = Kind::Int(Bounds::ANY);
const COUNT: Kind = Kind::Int(Bounds { at_least: Some(0), ..Bounds::ANY });
const SLOTS: Kind = Kind::Int(Bounds { more_than: Some(0), ..Bounds::ANY });
const DECAY: Kind = Kind::Float(Bounds { at_least: Some(0.0), ..Bounds::ANY });
const OCCUPANCY: Kind = Kind::Float(Bounds { more_than: Some(0.0), ..Bounds::ANY });
/// A minute to a day.
const LEASE_DURATION: Kind =
    Kind::Float(Bounds { at_least: Some(60.0), more_than: None, at_most: Some(86_400.0) });
const NAMES: Kind = Kind::List(&Kind::Text(None));
const MODE: Kind = Kind::OneOf(&["concurrency", "rate_limit"]);

const fn field(name: &'static str, kind: Kind, presence: Presence, about: &'static str) -> Field {
    Field { name, kind, presence, about }
}

/// `POST /concurrency_limits/`
pub(crate) const TAG_LIMIT_CREATE: Form = Form {
    name: "ConcurrencyLimitCreate",
    shape: Shape::Model,
    fields: &[
        field("tag", Kind::Text(Some(TAG)), Required, "The tag whose task runs are limited."),
        field("concurrency_limit", ANY_INT, Required, "How many of them may run at once."),
    ],
};

/// `POST /concurrency_limits/filter`, `POST /v2/concurrency_limits/filter`
pub(crate) const PAGE: Form = Form {
    name: "PageOfLimits",
    shape: Shape::Parameters,
    fields: &[
        field(
            "limit",
            Kind::PageSize,
            Optional,
            "How many limits at most, 0 to 200; 200 where nothing is said.",
        ),
        field("offset", COUNT, Optional, "How many to leave out first."),
    ],
};

/// `POST /concurrency_limits/tag/{tag}/reset`
pub(crate) const TAG_RESET: Form = Form {
    name: "TagReset",
    shape: Shape::Parameters,
    fields: &[field(
        "slot_override",
        Kind::List(&Kind::Id),
        Optional,
        "Task runs that hold a slot after it.",
    )],
};

/// `POST /concurrency_limits/increment`, `POST /concurrency_limits/decrement`
pub(crate) const TAG_SLOTS: Form = Form {
    name: "TagSlots",
    shape: Shape::Parameters,
    fields: &[
        field("names", NAMES, Required, "Tags of the task run."),
        field("task_run_id", Kind::Id, Required, "The task run that takes the slots, or gives them back."),
    ],
};

/// `POST /v2/concurrency_limits/`
pub(crate) const LIMIT_CREATE: Form =
    Form { name: "ConcurrencyLimitV2Create", shape: Shape::Model, fields: &limit(Required, Optional) };

/// `PATCH /v2/concurrency_limits/{id_or_name}`
pub(crate) const LIMIT_UPDATE: Form =
    Form { name: "ConcurrencyLimitV2Update", shape: Shape::Model, fields: &limit(Nullable, Nullable) };

/// The fields of a limit: those without which there is none, and the rest.
const fn limit(must: Presence, rest: Presence) -> [Field; 6] {
    [
        field("active", Kind::Bool, rest, "Whether it is enforced; a new one is where nothing is said."),
        field("name", Kind::Text(Some(NAME)), must, "Its name."),
        field("limit", COUNT, must, "How many slots it has."),
        field("active_slots", COUNT, rest, "How many of them are in use from now on."),
        field("denied_slots", COUNT, rest, "Kept and never acted on."),
        field("slot_decay_per_second", DECAY, rest, "Slots that come back by themselves each second."),
    ]
}

const SLOTS_OF_EACH: Field = field("slots", SLOTS, Required, "How many slots of each limit.");
const NAMES_OF_LIMITS: Field =
    field("names", NAMES, Required, "Names of the limits; those that do not exist are passed over.");
const TAKEN_AS: Field =
    field("mode", MODE, Optional, "Whether slots come back by being given back, or only by decay.");
const CREATE_IF_MISSING: Field =
    field("create_if_missing", Kind::Bool, Optional, "Ignored: limits are made before they are used.");
const DURATION: Field = field(
    "lease_duration",
    LEASE_DURATION,
    Optional,
    "Seconds from now until the lease ends unless it is renewed; 300 where nothing is said.",
);

/// `POST /v2/concurrency_limits/increment`
pub(crate) const INCREMENT: Form = Form {
    name: "Increment",
    shape: Shape::Parameters,
    fields: &[SLOTS_OF_EACH, NAMES_OF_LIMITS, TAKEN_AS, CREATE_IF_MISSING],
};

/// The holder of a lease.
const HOLDER: Kind = Kind::Object(&[
    field("type", Kind::OneOf(&["flow_run", "task_run", "deployment"]), Required, "What kind of holder."),
    field("id", Kind::Id, Required, "Its id."),
]);

/// `POST /v2/concurrency_limits/increment-with-lease`
pub(crate) const INCREMENT_WITH_LEASE: Form = Form {
    name: "IncrementWithLease",
    shape: Shape::Parameters,
    fields: &[
        SLOTS_OF_EACH,
        NAMES_OF_LIMITS,
        TAKEN_AS,
        DURATION,
        field("holder", HOLDER, Optional, "Who holds the lease."),
    ],
};

/// `POST /v2/concurrency_limits/decrement`
pub(crate) const DECREMENT: Form = Form {
    name: "Decrement",
    shape: Shape::Parameters,
    fields: &[
        SLOTS_OF_EACH,
        NAMES_OF_LIMITS,
        field("occupancy_seconds", OCCUPANCY, Optional, "Ignored: holds are measured."),
        CREATE_IF_MISSING,
    ],
};

/// `POST /v2/concurrency_limits/decrement-with-lease`
pub(crate) const DECREMENT_WITH_LEASE: Form = Form {
    name: "DecrementWithLease",
    shape: Shape::Parameters,
    fields: &[field("lease_id", Kind::Id, Required, "The lease to end.")],
};

/// `POST /v2/concurrency_limits/leases/{lease_id}/renew`
pub(crate) const RENEW: Form = Form { name: "RenewLease", shape: Shape::Parameters, fields: &[DURATION] };

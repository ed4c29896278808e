"""Records v2.jsonl: asks a real Prefect server, and writes down what it was asked and what it answered.

    python -m venv VENV && VENV/bin/pip install prefect==3.8.8 fastapi==0.141.1 pydantic==2.13.4 starlette==1.3.1
    PREFECT_HOME=$(mktemp -d) VENV/bin/prefect server start --no-ui --port 4299 &
    python record.py http://127.0.0.1:4299/api > v2.jsonl

The server has to be fresh. What differs from run to run is masked: `$uuid`, `$timestamp`, `$number`, `$base`,
and `${name}` where a record captures an id. Nothing but the standard library is needed.
"""

import http.client
import json
import re
import sys
import urllib.parse

BASE = urllib.parse.urlsplit(sys.argv[1])
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
# Ids that requests make up begin so, and are not masked.
FIXED = "00000000-0000-4000-8000-"
HEADERS = ["content-type", "retry-after", "location", "allow"]

captured = {}
count = 0


def fill(text):
    for name, value in captured.items():
        text = text.replace("${%s}" % name, value)
    return text


def mask(value, key=None):
    if isinstance(value, dict):
        return {name: mask(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [mask(inner) for inner in value]
    if isinstance(value, str):
        for name, known in captured.items():
            if value == known:
                return "${%s}" % name
        if TIME.match(value):
            return "$timestamp"
        if UUID.match(value) and not value.startswith(FIXED):
            return "$uuid"
    return value


def ask(name, method, path, body="", *, raw=None, headers=None, capture=None, quirk=False, notes=""):
    """`body` "" means none at all; `raw` is sent as it is."""
    global count
    count += 1
    record = {"seq": count, "name": name, "method": method, "path": path}
    sent = dict(headers or {})
    if raw is not None:
        kind, data = "raw", raw.encode()
    elif body == "":
        kind, data = "none", None
    else:
        kind, data = "json", fill(json.dumps(body)).encode()
    if kind != "none" and "content-type" not in sent:
        sent["content-type"] = "application/json"
    record["headers"] = sent
    if kind == "raw":
        record["raw_body"] = raw
    record["body"] = None if kind != "json" else body
    record["body_kind"] = kind
    connection = http.client.HTTPConnection(BASE.hostname, BASE.port, timeout=60)
    connection.request(method, BASE.path + urllib.parse.quote(fill(path), safe="/%?=&:"), body=data, headers=sent)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    try:
        answer, response_kind = json.loads(text), "json"
    except ValueError:
        answer, response_kind = (None, "empty") if not text else (text, "text")
    for variable, steps in (capture or {}).items():
        found = answer
        for step in steps:
            found = found[step]
        captured[variable] = found
    if capture:
        record["capture"] = capture
    record["status"] = response.status
    kept = {}
    for header in HEADERS:
        value = response.getheader(header)
        if value is not None:
            value = value.replace(f"{BASE.scheme}://{BASE.netloc}", "$base")
            if header == "retry-after" and "." in value and path.startswith("/v2"):
                value = "$number"
            kept[header] = value
    record["response_headers"] = kept
    record["response_kind"] = response_kind
    record["response_body"] = mask(answer)
    if quirk:
        record["quirk"] = True
    record["notes"] = notes
    print(json.dumps(record, ensure_ascii=False))
    sys.stdout.flush()
    return answer


V2 = "/v2/concurrency_limits"
LEASE = V2 + "/increment-with-lease"
TASK = FIXED + "0000000000%02d"


def create(name, body, **more):
    return ask(f"v2/create/{name}", "POST", V2 + "/", body, **more)


def increment(name, body, **more):
    return ask(f"v2/increment/{name}", "POST", V2 + "/increment", body, **more)


def lease(name, body, **more):
    return ask(f"v2/lease/{name}", "POST", LEASE, body, **more)


def read(name, limit, **more):
    return ask(f"v2/read/{name}", "GET", f"{V2}/{limit}", **more)


def patch(name, limit, body="", **more):
    return ask(f"v2/update/{name}", "PATCH", f"{V2}/{limit}", body, **more)


# Making limits.
create("ok", {"name": "db", "limit": 2}, capture={"db": ["id"]})
create("again", {"name": "db", "limit": 3})
create("all_fields", {"name": "full", "limit": 5, "active": False, "active_slots": 2, "denied_slots": 4, "slot_decay_per_second": 0.5}, notes="a disabled limit with slots in use")
create("client", {"name": "cli", "limit": 1, "active": None, "active_slots": None, "slot_decay_per_second": None}, notes="null where there is a default")
create("client_defaults", {"name": "cli", "limit": 1, "active": True, "active_slots": 0, "slot_decay_per_second": 0})
create("zero", {"name": "zero", "limit": 0}, capture={"zero": ["id"]})
create("tag", {"name": "tag:heavy", "limit": 1}, capture={"heavy": ["id"]})
create("decay", {"name": "rate", "limit": 2, "slot_decay_per_second": 0.001})
create("active_slots", {"name": "used", "limit": 3, "active_slots": 2}, capture={"used": ["id"]})
create("active_slots_over", {"name": "over", "limit": 1, "active_slots": 5})
create("spaces_and_dots", {"name": "a b.c-d_e:f", "limit": 1})
create("unicode", {"name": "größe 🚀", "limit": 1})
create("like_a_uuid", {"name": TASK % 77, "limit": 1}, capture={"uuidlike": ["id"]})
create("strings", {"name": "coerced", "limit": "7", "active": "yes", "active_slots": "0", "slot_decay_per_second": "0.25"})
create("bool_and_float", {"name": "coerced2", "limit": 3.0, "active": 1, "slot_decay_per_second": True})
create("large", {"name": "large", "limit": 2147483648})
create("name_slash", {"name": "a/b", "limit": 1})
create("name_percent", {"name": "50%", "limit": 1})
create("name_empty", {"name": "", "limit": 1})
create("name_number", {"name": 5, "limit": 1})
create("name_missing", {"limit": 1})
create("limit_missing", {"name": "x"})
create("limit_negative", {"name": "x", "limit": -1})
create("limit_null", {"name": "x", "limit": None})
create("limit_fraction", {"name": "x", "limit": 1.5})
create("limit_word", {"name": "x", "limit": "many"})
create("active_word", {"name": "x", "limit": 1, "active": "maybe"})
create("active_two", {"name": "x", "limit": 1, "active": 2})
create("active_list", {"name": "x", "limit": 1, "active": []})
create("slots_negative", {"name": "x", "limit": 1, "active_slots": -1, "denied_slots": -2})
create("decay_negative", {"name": "x", "limit": 1, "slot_decay_per_second": -0.5})
create("decay_word", {"name": "x", "limit": 1, "slot_decay_per_second": "fast"})
create("decay_list", {"name": "x", "limit": 1, "slot_decay_per_second": [1]})
create("avg_forbidden", {"name": "x", "limit": 1, "avg_slot_occupancy_seconds": 1.0})
create("everything_wrong", {"foo": 1, "active": "?", "limit": "?", "active_slots": None})
create("empty_object", {})
create("list", [])
create("no_body", "")
create("broken", "", raw='{"name": "x", "limit": 1')
create("broken_escape", "", raw='{"name": "\\x"}')
create("version_old", {"name": "x"}, headers={"x-prefect-api-version": "0.7.0"})
ask("v2/create/no_slash", "POST", V2, {"name": "x", "limit": 1})

# Reading them.
read("by_name", "db")
read("by_id", "${db}")
read("by_uuid_without_hyphens", "00000000000040008000000000000099")
read("unknown_name", "nope")
read("unknown_id", TASK % 99)
read("named_like_a_uuid", TASK % 77)
read("named_like_a_uuid_by_id", "${uuidlike}")
read("filter", "filter", notes="a name like any other")
read("encoded", "a%20b.c-d_e%3Af")
read("encoded_slash", "a%2Fb")
read("disabled", "full")
read("with_slots", "used")
read("over", "over")
read("tag", "tag:heavy")
ask("v2/read/no_name", "GET", V2 + "/")
ask("v2/method_not_allowed", "PUT", V2 + "/db", {})
ask("v2/read_by_v1/plain_limit", "GET", "/concurrency_limits/${db}")
ask("v2/read_by_v1/tag", "GET", "/concurrency_limits/tag/heavy")
ask("v2/filter/all", "POST", V2 + "/filter", {})
ask("v2/filter/no_body", "POST", V2 + "/filter")
ask("v2/filter/page", "POST", V2 + "/filter", {"limit": 2, "offset": 1})
ask("v2/filter/zero", "POST", V2 + "/filter", {"limit": 0})
ask("v2/filter/too_many", "POST", V2 + "/filter", {"limit": 201})
ask("v2/filter/too_many_and_offset", "POST", V2 + "/filter", {"limit": 201, "offset": -1})
ask("v2/filter/wrong_types", "POST", V2 + "/filter", {"limit": "x", "offset": "y"})
ask("v2/filter/text", "POST", V2 + "/filter", "hello")
ask("v2/filter/null_and_extra", "POST", V2 + "/filter", {"limit": None, "offset": 100, "foo": 1})

# Slots without a lease.
increment("ok", {"slots": 1, "names": ["db"]})
increment("two", {"slots": 1, "names": ["db"], "mode": "concurrency", "create_if_missing": None})
increment("full", {"slots": 1, "names": ["db"]})
read("after_increments", "db")
ask("v2/decrement/ok", "POST", V2 + "/decrement", {"slots": 1, "names": ["db"], "occupancy_seconds": 1.5})
read("after_decrement", "db")
ask("v2/decrement/more_than_used", "POST", V2 + "/decrement", {"slots": 5, "names": ["db"]}, notes="clamps at 0")
read("after_clamp", "db")
increment("several_slots", {"slots": 2, "names": ["db"]})
ask("v2/decrement/part", "POST", V2 + "/decrement", {"slots": 1, "names": ["db"]})
read("after_part", "db")
ask("v2/decrement/rest", "POST", V2 + "/decrement", {"slots": 1, "names": ["db"]})
increment("unknown", {"slots": 1, "names": ["nope"]})
increment("no_names", {"slots": 1, "names": []})
increment("twice_the_same", {"slots": 1, "names": ["db", "db"]})
read("after_twice_the_same", "db")
ask("v2/decrement/twice_the_same", "POST", V2 + "/decrement", {"slots": 1, "names": ["db", "db"]})
increment("disabled", {"slots": 1, "names": ["full"]}, notes="a disabled limit admits")
increment("disabled_more_than_limit", {"slots": 9, "names": ["full"]})
increment("more_than_limit", {"slots": 3, "names": ["db"]})
increment("zero", {"slots": 1, "names": ["zero"]})
increment("one_of_two_full", {"slots": 1, "names": ["db", "over"]}, notes="all or none")
read("after_one_of_two_full", "db")
increment("created_in_use", {"slots": 1, "names": ["used"]})
increment("created_in_use_full", {"slots": 1, "names": ["used"]})
ask("v2/decrement/created_in_use", "POST", V2 + "/decrement", {"slots": 2, "names": ["used"]})
read("after_created_in_use", "used")
ask("v2/decrement/unknown", "POST", V2 + "/decrement", {"slots": 1, "names": ["nope"]})
ask("v2/decrement/no_names", "POST", V2 + "/decrement", {"slots": 1, "names": []})
ask("v2/decrement/disabled", "POST", V2 + "/decrement", {"slots": 1, "names": ["full"]})
ask("v2/decrement/nothing", "POST", V2 + "/decrement", {})
ask("v2/decrement/wrong", "POST", V2 + "/decrement", {"slots": 0, "names": [None], "occupancy_seconds": 0, "create_if_missing": "x"})

# Rates.
increment("rate", {"slots": 1, "names": ["rate"], "mode": "rate_limit"})
increment("rate_again", {"slots": 1, "names": ["rate"], "mode": "rate_limit"})
increment("rate_full", {"slots": 1, "names": ["rate"], "mode": "rate_limit"})
read("after_rate", "rate")
increment("rate_without_decay", {"slots": 1, "names": ["db", "used"], "mode": "rate_limit"})
increment("rate_with_and_without", {"slots": 1, "names": ["rate", "db"], "mode": "rate_limit"})
increment("rate_disabled", {"slots": 1, "names": ["full"], "mode": "rate_limit"})
increment("rate_unknown", {"slots": 1, "names": ["nope"], "mode": "rate_limit"})

# Bad requests.
increment("empty_object", {})
increment("no_body", "")
increment("list", [])
increment("text", "hello")
increment("slots_zero", {"slots": 0, "names": ["db"]})
increment("slots_negative", {"slots": -1, "names": ["db"]})
increment("slots_word", {"slots": "x", "names": "db", "mode": "y", "create_if_missing": "z"})
increment("slots_null", {"slots": None, "names": None, "mode": None})
increment("mode_number", {"slots": 1, "names": ["db"], "mode": 5})
increment("names_mixed", {"slots": 1, "names": ["db", 1, None, {}]})
increment("names_odd", {"slots": 1, "names": ["", "a/b", "x" * 600]}, notes="names that no limit can have")
increment("broken", "", raw='{"slots": 1, "names": ["db"')
increment("content_type", "", raw='{"slots": 1, "names": []}', headers={"content-type": "text/plain"})

# Leases.
lease("ok", {"slots": 1, "names": ["db"]}, capture={"lease": ["lease_id"]})
read("after_lease", "db")
lease("holder", {"slots": 1, "names": ["db", "nope"], "lease_duration": 60, "holder": {"type": "task_run", "id": TASK % 1}}, capture={"held": ["lease_id"]})
lease("full", {"slots": 1, "names": ["db"]})
ask("v2/renew/ok", "POST", V2 + "/leases/${lease}/renew", {"lease_duration": 300})
ask("v2/renew/no_body", "POST", V2 + "/leases/${lease}/renew")
ask("v2/renew/null", "POST", V2 + "/leases/${lease}/renew", {"lease_duration": None})
ask("v2/renew/too_short", "POST", V2 + "/leases/${lease}/renew", {"lease_duration": 59.9})
ask("v2/renew/too_long", "POST", V2 + "/leases/${lease}/renew", {"lease_duration": 86401})
ask("v2/renew/word", "POST", V2 + "/leases/${lease}/renew", {"lease_duration": "x"})
ask("v2/renew/unknown", "POST", V2 + f"/leases/{TASK % 98}/renew", {"lease_duration": 60})
ask("v2/renew/bad_id", "POST", V2 + "/leases/nope/renew", {"lease_duration": 60})
ask("v2/renew/bad_id_and_body", "POST", V2 + "/leases/nope/renew", {"lease_duration": 1})
ask("v2/release/ok", "POST", V2 + "/decrement-with-lease", {"lease_id": "${lease}"})
ask("v2/release/again", "POST", V2 + "/decrement-with-lease", {"lease_id": "${lease}"})
ask("v2/release/unknown", "POST", V2 + "/decrement-with-lease", {"lease_id": TASK % 98})
ask("v2/release/bad_id", "POST", V2 + "/decrement-with-lease", {"lease_id": "x"})
ask("v2/release/number", "POST", V2 + "/decrement-with-lease", {"lease_id": 5})
ask("v2/release/missing", "POST", V2 + "/decrement-with-lease", {})
ask("v2/release/no_body", "POST", V2 + "/decrement-with-lease")
ask("v2/renew/released", "POST", V2 + "/leases/${lease}/renew", {"lease_duration": 60})
read("after_release", "db")
ask("v2/release/held", "POST", V2 + "/decrement-with-lease", {"lease_id": "${held}"})
read("after_all_released", "db")
lease("unknown", {"slots": 1, "names": ["nope"]}, capture={"empty": ["lease_id"]})
ask("v2/renew/of_nothing", "POST", V2 + "/leases/${empty}/renew", {"lease_duration": 60})
ask("v2/release/of_nothing", "POST", V2 + "/decrement-with-lease", {"lease_id": "${empty}"})
lease("no_names", {"slots": 1, "names": []})
lease("two_limits", {"slots": 1, "names": ["db", "used"]}, capture={"pair": ["lease_id"]})
lease("one_of_two_full", {"slots": 1, "names": ["db", "over"]})
ask("v2/release/pair", "POST", V2 + "/decrement-with-lease", {"lease_id": "${pair}"})
read("after_pair", "db")
lease("more_than_limit", {"slots": 3, "names": ["db"]})
lease("zero", {"slots": 1, "names": ["zero"]})
lease("rate_without_decay", {"slots": 1, "names": ["db"], "mode": "rate_limit"})
lease("duration_too_short", {"slots": 1, "names": ["db"], "lease_duration": 59})
lease("duration_too_long", {"slots": 1, "names": ["db"], "lease_duration": 86400.5})
lease("duration_word", {"slots": 1, "names": ["db"], "lease_duration": "x"})
lease("duration_null", {"slots": 1, "names": ["nope"], "lease_duration": None})
lease("holder_word", {"slots": 1, "names": ["db"], "holder": "me"})
lease("holder_list", {"slots": 1, "names": ["db"], "holder": []})
lease("holder_null", {"slots": 1, "names": ["nope"], "holder": None})
lease("holder_empty", {"slots": 1, "names": ["db"], "holder": {}})
lease("holder_type", {"slots": 1, "names": ["db"], "holder": {"type": "person", "id": "x"}})
lease("holder_extra", {"slots": 1, "names": ["db"], "holder": {"type": "flow_run", "id": TASK % 3, "name": "me"}})
lease("empty_object", {})
lease("no_body", "")

# A task's lease, seen through tags.
lease("task", {"slots": 1, "names": ["tag:heavy"], "holder": {"type": "task_run", "id": TASK % 4}}, capture={"task": ["lease_id"]})
ask("v2/read_by_v1/held", "GET", "/concurrency_limits/tag/heavy")
ask("v2/increment_by_v1/full", "POST", "/concurrency_limits/increment", {"names": ["heavy"], "task_run_id": TASK % 5})
ask("v2/decrement_by_v1/held", "POST", "/concurrency_limits/decrement", {"names": ["heavy"], "task_run_id": TASK % 4})
ask("v2/renew/decremented", "POST", V2 + "/leases/${task}/renew", {"lease_duration": 60})
read("after_v1_decrement", "tag:heavy")
lease("flow", {"slots": 1, "names": ["tag:heavy"], "holder": {"type": "flow_run", "id": TASK % 6}}, capture={"flow": ["lease_id"]})
ask("v2/read_by_v1/held_by_flow", "GET", "/concurrency_limits/tag/heavy", notes="only task runs are listed")
ask("v2/release/flow", "POST", V2 + "/decrement-with-lease", {"lease_id": "${flow}"})

# Changing limits.
patch("limit", "db", {"limit": 4})
read("after_update", "db")
patch("by_id", "${db}", {"limit": 2})
patch("nothing", "db", {})
patch("active_slots", "db", {"active_slots": 2})
read("after_active_slots", "db")
increment("after_active_slots", {"slots": 1, "names": ["db"]})
patch("active_slots_zero", "db", {"active_slots": 0})
read("after_active_slots_zero", "db")
patch("all", "cli", {"active": False, "limit": 9, "denied_slots": 3, "slot_decay_per_second": 1.5})
read("after_all", "cli")
patch("enable", "cli", {"active": True, "slot_decay_per_second": 0})
read("after_enable", "cli")
patch("rename", "cli", {"name": "cli2"})
read("renamed", "cli2")
read("old_name", "cli")
patch("rename_taken", "cli2", {"name": "db"})
patch("null", "db", {"limit": None})
patch("null_active", "db", {"active": None})
patch("unknown", "nope", {"limit": 1})
patch("unknown_null", "nope", {"limit": None})
patch("unknown_id", TASK % 99, {"limit": 1})
patch("negative", "db", {"limit": -1, "active_slots": -1, "slot_decay_per_second": -1})
patch("bad_name", "db", {"name": "a/b"})
patch("extra", "db", {"avg_slot_occupancy_seconds": 1})
patch("no_body", "db")
patch("list", "db", [])
lease("below_use", {"slots": 2, "names": ["db"]}, capture={"below": ["lease_id"]})
patch("below_use", "db", {"limit": 1})
read("below_use", "db")
increment("below_use", {"slots": 1, "names": ["db"]})
ask("v2/release/below_use", "POST", V2 + "/decrement-with-lease", {"lease_id": "${below}"})
increment("after_below_use", {"slots": 1, "names": ["db"]})
ask("v2/decrement/after_below_use", "POST", V2 + "/decrement", {"slots": 1, "names": ["db"]})

# Disabled limits.
lease("before_disable", {"slots": 1, "names": ["db"]}, capture={"before": ["lease_id"]})
patch("disable", "db", {"active": False})
read("disabled_in_use", "db")
lease("while_disabled", {"slots": 5, "names": ["db"]}, capture={"while": ["lease_id"]})
ask("v2/release/while_disabled", "POST", V2 + "/decrement-with-lease", {"lease_id": "${before}"}, quirk=True, notes="the slot is lost: the counter of a disabled limit is not lowered")
ask("v2/release/taken_while_disabled", "POST", V2 + "/decrement-with-lease", {"lease_id": "${while}"})
patch("reenable", "db", {"active": True})
read("after_reenable", "db", quirk=True)
increment("after_reenable", {"slots": 1, "names": ["db"]}, quirk=True)
ask("v2/decrement/after_reenable", "POST", V2 + "/decrement", {"slots": 1, "names": ["db"]})

# Removing limits.
lease("before_delete", {"slots": 1, "names": ["used"]}, capture={"orphan": ["lease_id"]})
ask("v2/delete/by_name", "DELETE", V2 + "/used")
ask("v2/delete/again", "DELETE", V2 + "/used")
ask("v2/renew/of_deleted", "POST", V2 + "/leases/${orphan}/renew", {"lease_duration": 60})
ask("v2/release/of_deleted", "POST", V2 + "/decrement-with-lease", {"lease_id": "${orphan}"})
ask("v2/delete/by_id", "DELETE", V2 + "/${zero}")
ask("v2/delete/unknown_id", "DELETE", V2 + f"/{TASK % 99}")
ask("v2/delete/by_v1_id", "DELETE", "/concurrency_limits/${db}", quirk=True, notes="the tag API removes a limit that is no tag's")
ask("v2/delete/gone", "DELETE", V2 + "/db")
create("recreated", {"name": "used", "limit": 1})

"""Prefect's command line against the server in PREFECT_API_URL: what people type, and what they see."""

import json
import os
import sys
import threading
import uuid

from prefect.cli import app


def prefect(*arguments, fails=False):
    """Runs one command as a process of its own, forked after the import, which takes seconds; gives its output."""
    assert threading.active_count() == 1, "a fork copies one thread only"
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writes, 1)
        os.dup2(writes, 2)
        sys.argv = ["prefect", *arguments]
        sys.exit(app())
    os.close(writes)
    with os.fdopen(reads) as pipe:
        output = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("$ prefect", *arguments, "->", status)
    print(output)
    assert (status != 0) == fails, f"exit status {status}"
    for word in ("Warning", "WARNING", "Traceback", "Unable to connect"):
        assert word not in output, word
    return output


def shows(output, *texts):
    for text in texts:
        assert text in output, f"{text!r} is not shown"


def tags():
    shows(prefect("concurrency-limit", "create", "etl", "2"), "Created concurrency limit", "etl", "2")
    shows(prefect("concurrency-limit", "create", "other", "1"), "other")
    shows(prefect("concurrency-limit", "ls"), "etl", "other")
    shows(prefect("concurrency-limit", "inspect", "etl"), "etl", "2")
    # An existing tag's limit is changed.
    shows(prefect("concurrency-limit", "create", "etl", "5"), "5")
    shows(prefect("concurrency-limit", "inspect", "etl"), "5")
    shows(prefect("concurrency-limit", "reset", "etl"), "Reset concurrency limit set on the tag: etl")
    shows(prefect("concurrency-limit", "delete", "etl"), "Deleted concurrency limit set on the tag: etl")
    shows(prefect("concurrency-limit", "inspect", "etl", fails=True), "No concurrency limit found for the tag: etl")
    shows(prefect("concurrency-limit", "reset", "etl", fails=True), "No concurrency limit found for the tag: etl")
    assert "etl" not in prefect("concurrency-limit", "ls")


def global_limits():
    shows(prefect("gcl", "create", "db", "--limit", "3"), "Created global concurrency limit with name 'db'")
    shows(prefect("gcl", "create", "db", "--limit", "3", fails=True), "already exists")
    created = prefect("gcl", "create", "rate", "--limit", "10", "--slot-decay-per-second", "2.5", "--disable")
    shows(created, "'rate'")
    shows(prefect("gcl", "ls"), "db", "rate", "tag:other")
    inspected = json.loads(prefect("gcl", "inspect", "rate", "--output", "json"))
    assert (inspected["name"], inspected["limit"]) == ("rate", 10)
    assert (inspected["active"], inspected["slot_decay_per_second"]) == (False, 2.5)
    assert uuid.UUID(inspected["id"])
    shows(prefect("gcl", "enable", "rate"), "Enabled global concurrency limit with name 'rate'")
    shows(prefect("gcl", "enable", "rate", fails=True), "already enabled")
    shows(prefect("gcl", "disable", "rate"), "Disabled global concurrency limit with name 'rate'")
    shows(prefect("gcl", "update", "db", "--limit", "7"), "Updated global concurrency limit with name 'db'")
    prefect("gcl", "update", "db", "--active-slots", "4")
    inspected = json.loads(prefect("gcl", "inspect", "db", "--output", "json"))
    assert (inspected["limit"], inspected["active_slots"]) == (7, 4)
    prefect("gcl", "update", "db", "--active-slots", "0")
    shows(prefect("gcl", "update", "none", "--limit", "1", fails=True), "not found")
    shows(prefect("gcl", "delete", "rate"), "Deleted global concurrency limit with name 'rate'")
    shows(prefect("gcl", "inspect", "rate", fails=True), "not found")


tags()
global_limits()

"""Clients that a generator makes: of the document in the first argument, and of the one that the server publishes."""

import importlib
import json
import os
import subprocess
import sys
import uuid

import httpx

API = os.environ["PREFECT_API_URL"]
SEED = sys.argv[1]


def generate(document, name):
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", document]
    done = subprocess.run([*command, "--output-path", name, "--meta", "none"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def the_seed_s_document():
    generate(SEED, "seed")
    from seed import Client
    from seed.api.concurrency_limits import create_concurrency_limit_concurrency_limits_post as create
    from seed.models import ConcurrencyLimit, ConcurrencyLimitCreate, HTTPValidationError

    client = Client(base_url=API)

    def ask(tag, limit):
        body = ConcurrencyLimitCreate(tag=tag, concurrency_limit=limit)
        return create.sync_detailed(client=client, body=body, x_prefect_api_version="0.8.4")

    made = ask("seed", 3)
    # The document knows no 201, which the real server gives as well, so that the client leaves it to its user; what
    # came fits its model all the same.
    assert made.status_code == 201
    limit = ConcurrencyLimit.from_dict(json.loads(made.content))
    assert (limit.tag, limit.concurrency_limit, limit.active_slots) == ("seed", 3, [])
    assert isinstance(limit.id, uuid.UUID) and limit.created and limit.updated

    changed = ask("seed", 4)
    assert changed.status_code == 200
    assert isinstance(changed.parsed, ConcurrencyLimit)
    assert (changed.parsed.id, changed.parsed.concurrency_limit) == (limit.id, 4)

    wrong = ask(7, "many")
    assert wrong.status_code == 422
    assert isinstance(wrong.parsed, HTTPValidationError)
    assert [fault.loc for fault in wrong.parsed.detail] == [["body", "tag"], ["body", "concurrency_limit"]]
    assert [fault.type_ for fault in wrong.parsed.detail] == ["string_type", "int_parsing"]
    assert all(fault.msg for fault in wrong.parsed.detail)


def the_published_document():
    published = httpx.get(f"{API}/openapi.json").json()
    with open("published.json", "w") as file:
        json.dump(published, file)
    generate("published.json", "published")
    operation = published["paths"]["/api/concurrency_limits/"]["post"]
    responses = operation["responses"]
    assert {"200", "201", "422"} <= set(responses), responses
    module = "".join("_" + c.lower() if c.isupper() else c for c in operation["operationId"]).lstrip("_")
    tag = operation.get("tags", ["default"])[0].lower().replace(" ", "_")
    create = importlib.import_module(f"published.api.{tag}.{module}")
    models, client = importlib.import_module("published.models"), importlib.import_module("published").Client
    for status, limit in ((201, 1), (200, 2)):
        body = models.ConcurrencyLimitCreate(tag="published", concurrency_limit=limit)
        answer = create.sync_detailed(client=client(base_url=API.removesuffix("/api")), body=body)
        assert answer.status_code == status
        assert answer.parsed.concurrency_limit == limit


sys.path.insert(0, os.getcwd())
the_seed_s_document()
the_published_document()

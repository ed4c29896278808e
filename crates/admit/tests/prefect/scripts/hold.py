"""Holds a slot of a limit, and says what the server shows meanwhile. Nothing else is to be said."""

import sys

import httpx
from prefect.concurrency.sync import concurrency
from prefect.settings import PREFECT_API_URL

(name,) = sys.argv[1:]
with concurrency(name, strict=True):
    shown = httpx.get(f"{PREFECT_API_URL.value()}/v2/concurrency_limits/{name}").json()
    print(f"active {shown['active_slots']}, limit {shown['limit']}")

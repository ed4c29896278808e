"""Limits of two servers through the one before: `behind` is there alone, `here` here alone, `both` on both."""

import asyncio
import sys

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.asyncio import concurrency
from prefect.settings import PREFECT_API_URL

HERE = PREFECT_API_URL.value()
(BEHIND,) = sys.argv[1:]


def page(limit, offset):
    rows = httpx.post(f"{HERE}/v2/concurrency_limits/filter", json={"limit": limit, "offset": offset}).json()
    return [(row["name"], row["limit"]) for row in rows]


def active_slots(api, name):
    return httpx.get(f"{api}/v2/concurrency_limits/{name}").json()["active_slots"]


async def main():
    everything = [("behind", 3), ("both", 7), ("here", 3)]
    assert page(200, 0) == everything, page(200, 0)
    assert [row for at in range(4) for row in page(1, at)] == everything
    wrong = httpx.post(f"{HERE}/v2/concurrency_limits/filter", json={"limit": 201})
    assert wrong.status_code == 422

    async with get_client() as client:
        limit = await client.read_global_concurrency_limit_by_name("behind")
        assert limit.limit == 3
        # Slots of a limit that is there alone are taken there, and renewed and given back there.
        async with concurrency("behind", occupy=2, strict=True):
            assert active_slots(BEHIND, "behind") == 2
            assert active_slots(HERE, "behind") == 2
        # Of one that is on both, here.
        async with concurrency("both", strict=True):
            assert (active_slots(HERE, "both"), active_slots(BEHIND, "both")) == (1, 0)
        # A task run's tag whose limit is there alone.
        tag = httpx.post(f"{BEHIND}/concurrency_limits/", json={"tag": "there", "concurrency_limit": 1}).json()
        assert httpx.get(f"{HERE}/concurrency_limits/{tag['id']}").json()["tag"] == "there"
        names = [row["tag"] for row in httpx.post(f"{HERE}/concurrency_limits/filter", json={}).json()]
        assert names == ["there"], names
        assert httpx.delete(f"{HERE}/concurrency_limits/tag/there").status_code == 200

        await client.update_global_concurrency_limit("behind", GlobalConcurrencyLimitUpdate(limit=9))
        assert page(1, 0) == [("behind", 9)]
        await client.delete_global_concurrency_limit_by_name("behind")
        assert page(200, 0) == [("both", 7), ("here", 3)]
        gone = httpx.get(f"{HERE}/v2/concurrency_limits/behind")
        assert (gone.status_code, gone.json()) == (404, {"detail": "Concurrency Limit not found"})
        lost = httpx.post(f"{HERE}/v2/concurrency_limits/leases/00000000-0000-4000-8000-000000000001/renew", json={})
        assert lost.status_code == 410


asyncio.run(main())

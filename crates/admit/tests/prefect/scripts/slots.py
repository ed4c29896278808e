"""Prefect's client in flows and scripts: concurrency(), sync and async, and rate_limit()."""

import asyncio
import threading
import time

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import concurrency as aconcurrency
from prefect.concurrency.asyncio import rate_limit as arate_limit
from prefect.concurrency.sync import concurrency, rate_limit
from prefect.settings import PREFECT_API_URL

API = PREFECT_API_URL.value()


def active_slots(name):
    return httpx.get(f"{API}/v2/concurrency_limits/{name}").json()["active_slots"]


def eventually(holds, what):
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < 30, f"waited in vain until {what}"
        time.sleep(0.01)


def raises(kind, text, work):
    try:
        work()
    except kind as error:
        assert text in str(error), f"{error!r} does not say {text!r}"
        return
    raise AssertionError(f"{kind} was not raised")


def sync_holds_and_gives_back():
    with concurrency("two", occupy=2, strict=True):
        assert active_slots("two") == 2
    eventually(lambda: active_slots("two") == 0, "the slots are back")


def sync_gives_back_after_an_error():
    def fail():
        with concurrency("two"):
            assert active_slots("two") == 1
            raise KeyError("own")

    raises(KeyError, "own", fail)
    eventually(lambda: active_slots("two") == 0, "the slots are back")


def several_limits_are_taken_together():
    with concurrency(["two", "one"]):
        assert (active_slots("two"), active_slots("one")) == (1, 1)
    eventually(lambda: active_slots("two") + active_slots("one") == 0, "the slots are back")


def strict_wants_a_limit():
    def use():
        with concurrency("missing", strict=True):
            pass

    raises(Exception, "must be created before acquiring slots", use)


def a_timeout_ends_the_wait_and_leaves_no_place():
    def use():
        with concurrency("one", timeout_seconds=0.5):
            pass

    begun = time.monotonic()
    with concurrency("one"):
        raises(Exception, "timed out", use)
    assert 0.4 < time.monotonic() - begun < 10
    with concurrency("one", timeout_seconds=20):
        assert active_slots("one") == 1
    eventually(lambda: active_slots("one") == 0, "the slot is back")


def more_slots_than_there_are_is_an_error():
    def use():
        with concurrency("one", occupy=2):
            pass

    raises(Exception, "Slots requested is greater than the limit", use)


def a_waiter_is_woken():
    """Two threads of one process wait as two processes would: one request after the other."""
    order, held, free = [], threading.Event(), threading.Event()

    def hold():
        with concurrency("one"):
            order.append("first")
            held.set()
            free.wait(30)
        order.append("given back")

    def wait():
        with concurrency("one"):
            order.append("second")

    first = threading.Thread(target=hold)
    first.start()
    assert held.wait(30)
    second = threading.Thread(target=wait)
    second.start()
    time.sleep(0.3)
    assert order == ["first"]
    free.set()
    first.join(30)
    second.join(30)
    assert sorted(order) == ["first", "given back", "second"], order


def async_holds_and_gives_back():
    async def use():
        async with aconcurrency("two", occupy=1, strict=True):
            assert active_slots("two") == 1

    asyncio.run(use())
    eventually(lambda: active_slots("two") == 0, "the slots are back")


def async_timeout():
    async def use():
        async with aconcurrency("one", strict=True):
            async with aconcurrency("one", timeout_seconds=0.5):
                pass

    raises(TimeoutError, "timed out", lambda: asyncio.run(use()))
    eventually(lambda: active_slots("one") == 0, "the slot is back")


def rates_are_kept():
    """Ten at once, and 20 a second from then on."""
    begun = time.monotonic()
    for _ in range(20):
        rate_limit("rate")
    assert 0.45 < time.monotonic() - begun < 15

    async def take():
        await arate_limit("rate", occupy=1, strict=True)

    asyncio.run(take())


def a_rate_needs_a_decay():
    raises(Exception, "Only concurrency limits with slot decay", lambda: rate_limit("one"))


async def setup():
    async with get_client() as client:
        for name, limit, decay in (("one", 1, 0), ("two", 2, 0), ("rate", 10, 20)):
            response = await client._client.post(
                "/v2/concurrency_limits/", json={"name": name, "limit": limit, "slot_decay_per_second": decay}
            )
            assert response.status_code == 201


asyncio.run(setup())
for check in (
    sync_holds_and_gives_back,
    sync_gives_back_after_an_error,
    several_limits_are_taken_together,
    strict_wants_a_limit,
    a_timeout_ends_the_wait_and_leaves_no_place,
    more_slots_than_there_are_is_an_error,
    a_waiter_is_woken,
    async_holds_and_gives_back,
    async_timeout,
    rates_are_kept,
    a_rate_needs_a_decay,
):
    check()
    print("ok", check.__name__, flush=True)

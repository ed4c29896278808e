"""A deployment whose runs exclude each other: while one runs, the next is cancelled."""

import asyncio
import time

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments import run_deployment
from prefect.runner import Runner

RUN_S = 8


@flow
def slow():
    time.sleep(RUN_S)


async def reaches(client, run, *states):
    for _ in range(600):
        now = await client.read_flow_run(run.id)
        if now.state.type.value in states:
            return now.state.type.value
        await asyncio.sleep(0.1)
    raise AssertionError(f"{run.name} is {now.state}")


async def main():
    runner = Runner(name="runner", query_seconds=0.5)
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    await runner.aadd_flow(slow, name="alone", concurrency_limit=one)
    running = asyncio.create_task(runner.start())
    async with get_client() as client:
        first = await run_deployment("slow/alone", timeout=0)
        await reaches(client, first, "RUNNING")
        limits = await client.read_global_concurrency_limits(limit=100, offset=0)
        print("limits:", [(limit.name.split(":")[0], limit.active_slots) for limit in limits])
        second = await run_deployment("slow/alone", timeout=0)
        final = ("COMPLETED", "CANCELLED", "FAILED", "CRASHED")
        print("second:", await reaches(client, second, *final), flush=True)
        print("first:", await reaches(client, first, *final), flush=True)
    await runner.astop()
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main())

"""What a Prefect server knows of the one flow run it has."""

import asyncio
import collections

from prefect.client.orchestration import get_client


async def seen():
    async with get_client() as client:
        (run,) = await client.read_flow_runs()
        tasks = collections.Counter(task.state.type.value for task in await client.read_task_runs() if task.state)
        logs = [log.message for log in await client.read_logs()]
        limits = [limit.name for limit in await client.read_global_concurrency_limits(limit=100, offset=0)]
    states = " ".join(f"{count} {state}" for state, count in tasks.items())
    is_logged = "yes" if "a line of the flow's own" in logs else "no"
    return f"flow run: {run.state.type.value}, task runs: {states}, logs: {is_logged}, limits: {limits}"


async def main():
    # Logs and events of tasks are sent and stored behind the run's back.
    for _ in range(300):
        text = await seen()
        if "4 COMPLETED, logs: yes" in text:
            break
        await asyncio.sleep(0.1)
    print(text)


asyncio.run(main())

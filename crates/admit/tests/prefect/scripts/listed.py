"""The limits that are listed are these."""

import asyncio
import sys

from prefect.client.orchestration import get_client


async def main():
    async with get_client() as client:
        limits = await client.read_global_concurrency_limits(limit=100, offset=0)
    assert [limit.name for limit in limits] == sys.argv[1:], limits


asyncio.run(main())

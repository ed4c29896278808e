"""Makes a limit of each name, with three slots."""

import asyncio
import sys

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate


async def main():
    async with get_client() as client:
        for name in sys.argv[1:]:
            await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=3))


asyncio.run(main())

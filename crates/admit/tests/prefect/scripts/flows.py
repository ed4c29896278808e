"""What a client is told that looks for flows."""

import asyncio

from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError


async def main():
    async with get_client() as client:
        try:
            await client.read_flows()
        except PrefectHTTPStatusError as error:
            print(error.response.status_code, error.response.text)


asyncio.run(main())

"""Twenty holders of a limit of one, each for 100 ms, in one process: who comes first goes first, alone."""

import asyncio
import time

from prefect.concurrency.asyncio import concurrency

HOLDERS = 20
HOLD_S = 0.1


async def main():
    inside, most, order = 0, 0, []

    async def hold(number):
        nonlocal inside, most
        async with concurrency("one", strict=True):
            inside += 1
            most = max(most, inside)
            order.append(number)
            await asyncio.sleep(HOLD_S)
            inside -= 1

    begun = time.monotonic()
    await asyncio.gather(*(hold(number) for number in range(HOLDERS)))
    print(f"{time.monotonic() - begun:.2f} s")
    assert most == 1, f"{most} at once"
    assert order == list(range(HOLDERS)), order


asyncio.run(main())

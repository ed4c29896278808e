"""Twenty holders of a limit of one, each for 100 ms, in one process: who comes first goes first, alone, and at once."""

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

    # One after the other nobody waits for anybody: what that takes is the client's, on a busy machine too.
    begun = time.monotonic()
    for number in range(HOLDERS):
        await hold(number)
    alone_s = time.monotonic() - begun
    order.clear()

    begun = time.monotonic()
    await asyncio.gather(*(hold(number) for number in range(HOLDERS)))
    took_s = time.monotonic() - begun
    print(f"{took_s:.2f} s together, {alone_s:.2f} s one after the other")
    assert most == 1, f"{most} at once"
    assert order == list(range(HOLDERS)), order
    # Where nobody is woken, the first who is refused alone waits for seconds.
    assert took_s < 2 * alone_s + 1, f"{took_s:.2f} s, where {alone_s:.2f} s were enough"


asyncio.run(main())

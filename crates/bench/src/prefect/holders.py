"""Holders of one limit, by Prefect's client, in one process: LIMIT COUNT HOLD_S. Begins with a line of its input."""

import asyncio
import sys
import time

from prefect.concurrency.asyncio import concurrency

limit, count, hold_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


async def hold(number):
    asked = time.time()
    async with concurrency(limit, strict=True):
        began = time.time()
        await asyncio.sleep(hold_s)
        ended = time.time()
    print(number, asked, began, ended, flush=True)


async def main():
    await asyncio.gather(*(hold(number) for number in range(count)))


print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())

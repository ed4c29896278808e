"""Holds a slot of a limit until a file is there; says when it has it, and how long it took to give it back."""

import sys
import time
from pathlib import Path

from prefect.concurrency.sync import concurrency

name, file = sys.argv[1:]
with concurrency(name, strict=True):
    print("held", flush=True)
    while not Path(file).exists():
        time.sleep(0.05)
    begun = time.monotonic()
print(f"given back after {time.monotonic() - begun:.2f} s", flush=True)

"""A flow with tagged tasks, run here."""

import threading
import time

from prefect import flow, task
from prefect.logging import get_run_logger

lock = threading.Lock()
inside = most = 0


@task(tags=["heavy", "unlimited"])
def heavy():
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(0.2)
    with lock:
        inside -= 1


@flow
def tagged():
    get_run_logger().info("a line of the flow's own")
    for future in [heavy.submit() for _ in range(4)]:
        future.result()


if __name__ == "__main__":
    tagged()
    print("most at once:", most)

# SPDX-License-Identifier: Apache-2.0
"""Memory of idle cells: many at a time, each running sleep, and the PSS of all their processes."""
import signal
import subprocess
import time

import sides as bench_sides
import work

GOAL_MIB = 8 * 1024 / 1000  # a thousand in 8 GiB
SHARE_OF_MEMORY = 0.6       # of what the host has free, at most


def start_one(side):
    process = side.start(["/bin/sh", "-c", "echo ready; exec sleep 1000"])
    if process.stdout.readline() != b"ready\n":
        bench_sides.end(process)
        raise bench_sides.Failed(f"no idle cell: {process.returncode}")
    return process


def total_pss(processes):
    pids = [p.pid for p in processes]
    total = 0
    for pid in {*pids, *work.descendants(pids)}:
        try:
            total += work.pss_mib(pid)
        except (OSError, AttributeError):  # it has ended
            pass
    return total


def end_all(processes):
    for p in processes:
        p.send_signal(signal.SIGTERM)
    for p in processes:
        try:
            p.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            bench_sides.end(p)


def measure_side(side, count):
    processes = []
    try:
        free = work.available_mib()
        for _ in range(min(2, count)):
            processes.append(start_one(side))
        each = max(1, total_pss(processes) / len(processes))
        count = max(len(processes), min(count, int(free * SHARE_OF_MEMORY / each)))
        while len(processes) < count:
            processes.append(start_one(side))
        time.sleep(2)
        return {"count": count, "pss_mib": total_pss(processes) / count}
    finally:
        end_all(processes)


def measure(sides, count):
    found = {}
    for side in sides:
        try:
            # A peer's processes are not all below its command; few are enough to see the order of magnitude.
            found[side.name] = measure_side(side, count if side.name == "cell" else min(count, 5))
            print(f"idle {side.name}: {found[side.name]}", flush=True)
        except bench_sides.Failed as why:
            print(f"idle {side.name}: FAILED: {why}", flush=True)
    return found

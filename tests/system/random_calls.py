# SPDX-License-Identifier: Apache-2.0
"""Random system calls on the debug kernel: no hang, no panic, no leak. A few seeds; with CLOISTER_SOAK many, for longer."""
import os

from harness import common

SUITE = "debug"


def run_seeds(t, seeds, seconds):
    common.ninja("random-calls")
    program = os.path.join(common.BUILD, "tests", "random")
    work = os.path.join(t.scratch, "work")
    os.mkdir(work)
    for seed in seeds:
        done = t.cell(["/random/random_calls", str(seed), str(seconds)], "--env", "CLOISTER_CELL=1", "--mount", f"{program}:/random:ro",
                      "--mount", f"{work}:/work:rw", timeout=seconds + 150)
        t.check(done.status == 0 and b" rounds" in done.out, f"seed {seed}: status {done.status}", done.text()[-4000:])


def test_fixed_seeds(t):
    run_seeds(t, (1, 2, 3), 4)


def test_many_seeds(t):
    if not os.environ.get("CLOISTER_SOAK"):
        t.skip("for ./dev soak")
    run_seeds(t, range(100, 140), 15)

# SPDX-License-Identifier: Apache-2.0
"""Port hosted: whichever of a cell's processes dies, at whatever moment, the whole cell ends with one line, and nothing is left.

Each kind is killed a few times here, a hundred times with CLOISTER_SOAK=1 (./dev soak)."""
import glob
import os
import random
import signal
import time

from signals import alive, descendants, names_of, wait_gone

PORTS = ("hosted",)

PART_DIED = 120  # the launcher's status when a process of the cell or of its host side was killed
# Where tests and measurements, of this run or of others, keep their files.
TESTS_OWN = tuple(f"/tmp/cloister-{what}-" for what in ("system", "guest", "bench", "broker"))
TIMES = 100 if os.environ.get("CLOISTER_SOAK") else 8
END_SECONDS = 1.0

# What the cell does meanwhile: rests in several processes, or works in ways that keep all parts busy.
IDLE = "sleep 1000 & sleep 1000 & echo ready; wait"
BUSY = """(while :; do /bin/true; done) & (while :; do cat /usr/bin/*.so /etc/* >/dev/null 2>&1; done) &
(while :; do (echo x; sleep 0.01) | cat >/dev/null; done) & echo ready; wait"""
NETWORK = ("--connect", "tcp:10.0.0.1:80")  # so that there is a process for it


def starttime(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return 1 << 62  # gone: young, for what was there at the start lives


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def holds_memory(pid):
    try:
        with open(f"/proc/{pid}/maps") as f:
            return "memfd:" in f.read()
    except OSError:
        return False


class Parts:
    """The processes of a running cell by their part (host/hosted/supervisor.h)."""

    def __init__(self, t, launcher):
        below = children(launcher)
        self.network = next((p for p, name in names_of(below).items() if name == "cloister-net"), None)
        below = [p for p in below if p != self.network]
        t.equal(len(below), 1, "children of the launcher:", names_of(below))
        self.launcher, self.supervisor = launcher, below[0]
        below = sorted(children(self.supervisor), key=lambda p: (starttime(p), p))
        cell = [p for p in below if holds_memory(p)]
        self.broker = next(p for p in below if p not in cell)  # the first: others may be gone by now
        self.kernel, self.programs = cell[0], cell[1:]
        self.all = descendants(launcher)
        t.check(self.programs, "no process of the cell")

    def of(self, kind):
        if kind == "program":  # one that was there at the start; others come and go
            return random.choice(self.programs[:3])
        return getattr(self, kind)


def traces():
    """What a cell could leave behind in places that outlive its processes."""
    found = set()
    for place in ("/tmp", "/dev/shm", "/run", "/sys/fs/cgroup"):
        try:
            found |= {os.path.join(place, n) for n in os.listdir(place) if "cloister" in n}
        except OSError:
            pass
    return {f for f in found if not f.startswith(TESTS_OWN)}


def memory_files():
    """Processes of ours that hold a cell's memory file open (by its name)."""
    held = set()
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path).startswith("/memfd:cell"):
                held.add(int(path.split("/")[2]))
        except OSError:
            pass
    return held


def kill_one(t, kind, script, number=signal.SIGKILL, cell=None):
    """Kills one part of a running cell and checks how the cell ends."""
    before = traces()
    process = t.start(["/bin/bash", "-c", script], *(cell or ()))
    try:
        t.wait_for_line(process, b"ready")
        if script == BUSY:
            time.sleep(random.random() * 0.1)
        parts = Parts(t, process.pid)
        victim = parts.of(kind)
        start = time.monotonic()
        os.kill(victim, number)
        done = t.finish(process, 10)
        took = time.monotonic() - start
        wait_gone(t, parts.all | {victim}, max(0, END_SECONDS * t.arguments.slow - took) + 0.2)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    check_end(t, kind, script, number, done, took)
    t.check(not (memory_files() & (parts.all | {victim})), "memory is held")
    t.equal(traces() - before, set(), "left behind")


def check_end(t, kind, script, number, done, took):
    if kind == "launcher":
        t.equal(done.status, -number)
    else:
        t.equal(done.status, PART_DIED, kind, done.text()[-1500:])
        # Programs that still start may complain of their files before they are ended.
        lines = done.err.decode("utf-8", "replace").splitlines()
        t.equal([n for n, line in enumerate(lines) if line.startswith("cloister: ")], [len(lines) - 1], kind, done.err[-1500:])
        t.check(script == BUSY or len(lines) == 1, kind, lines)
    t.check(took <= END_SECONDS * t.arguments.slow, f"{kind}: the end took {took:.2f} s")


def many(t, kind, number=signal.SIGKILL, cell=None):
    for n in range(TIMES):
        kill_one(t, kind, IDLE if n % 2 else BUSY, number, cell)


def test_killed_program(t):
    many(t, "program")


def test_killed_kernel(t):
    many(t, "kernel")


def test_killed_broker(t):
    many(t, "broker")


def test_killed_network(t):
    many(t, "network", cell=NETWORK)


def test_killed_supervisor(t):
    many(t, "supervisor")


def test_killed_launcher(t):
    many(t, "launcher")


def test_lines_tell_what_died(t):
    said = {}
    for kind in ("program", "kernel", "broker", "network", "supervisor"):
        process = t.start(["/bin/bash", "-c", IDLE], *NETWORK)
        t.wait_for_line(process, b"ready")
        os.kill(Parts(t, process.pid).of(kind), signal.SIGKILL)
        said[kind] = t.finish(process).err.decode("utf-8", "replace")
    t.check("broker" in said["broker"] and "network" in said["network"], said)
    t.check(said["broker"] != said["kernel"] and said["broker"] != said["supervisor"], said)


def test_other_ends_of_host_processes(t):
    """Not only SIGKILL: what a host's user or its out-of-memory killer may send."""
    for kind in ("kernel", "broker"):
        for number in (signal.SIGABRT, signal.SIGXCPU, signal.SIGHUP, signal.SIGTERM):
            kill_one(t, kind, IDLE, number)


def test_killed_while_it_starts(t):
    """At random moments of the first milliseconds, whatever is there by then."""
    for n in range(TIMES * 2):
        process = t.start(["/bin/sleep", "1000"])
        time.sleep(random.random() * 0.04)
        below = descendants(process.pid)
        victim = random.choice(sorted(below)) if below and n % 2 else process.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        below |= descendants(process.pid)
        done = t.finish(process, 10)
        t.check(done.status in (-signal.SIGKILL, PART_DIED, 125), done.status, done.text()[-1000:])
        wait_gone(t, below, END_SECONDS * t.arguments.slow + 0.5)


def test_stopped_launcher_goes_on(t):
    """Stopped and continued, as from a shell: the cell waits and goes on, and its end comes through."""
    process = t.start(["/bin/sh", "-c", "echo ready; sleep 0.3; exit 7"])
    t.wait_for_line(process, b"ready")
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    t.check(alive([process.pid]), "gone while stopped")
    process.send_signal(signal.SIGCONT)
    t.equal(t.finish(process).status, 7)


def test_stopped_cell_goes_on(t):
    """Its processes stopped and continued, by a signal or a frozen control group: the host has them take up interrupted calls."""
    process = t.start(["/bin/sh", "-c", "echo ready; sleep 1.5; exit 7"])
    t.wait_for_line(process, b"ready")
    below = descendants(process.pid)
    for number in (signal.SIGSTOP, signal.SIGCONT) * 3:
        for pid in alive(below):
            os.kill(pid, number)
        time.sleep(0.1)
    done = t.finish(process)
    t.equal(done.status, 7, done.err)


def test_many_cells_come_and_go(t):
    """Nothing adds up: processes, memory files, names in shared places."""
    before = traces()
    for _ in range(4):
        processes = [t.start(["/bin/bash", "-c", "for i in 1 2 3; do /bin/true; done; echo $$"])
                     for _ in range(5)]
        below = set()
        for process in processes:
            below |= descendants(process.pid)
            t.equal(t.finish(process).status, 0)
        wait_gone(t, below, 3)
    t.equal(traces() - before, set(), "left behind")

# SPDX-License-Identifier: Apache-2.0
"""Are signals passed on, and is nothing left behind however a cell ends?"""
import os
import signal
import subprocess
import time

from harness.system import only


def descendants(pid):
    """Every process below this one."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as f:
                parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found, grown = {pid}, True
    while grown:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {pid}


def names_of(pids):
    named = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/comm") as f:
                named[pid] = f.read().strip()
        except OSError:
            pass
    return named


def alive(pids):
    """Those that still run (a zombie does not)."""
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append(pid)
        except OSError:
            pass
    return found


def wait_gone(t, pids, seconds=15):
    end = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < end:
        time.sleep(0.05)
    t.check(not alive(pids), "still running:", names_of(alive(pids)))


def running_cell(t, script="echo ready; sleep 100"):
    process = t.start(["/bin/bash", "-c", script])
    t.wait_for_line(process, b"ready")
    return process, descendants(process.pid)


def test_sigterm_reaches_the_program(t):
    process, below = running_cell(t, "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    process.send_signal(signal.SIGTERM)
    done = t.finish(process)
    t.equal(done.status, 5, done.err)
    t.equal(done.out, b"caught\n")
    wait_gone(t, below)


def test_every_forwarded_signal(t):
    traps = "".join(f"trap 'echo got {s}' {s};" for s in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM"))
    process, _ = running_cell(t, traps + "echo ready; for i in $(seq 400); do sleep 0.05; done; exit 9")
    for name in ("HUP", "INT", "QUIT", "USR1", "USR2"):
        process.send_signal(getattr(signal, "SIG" + name))
        t.wait_for_line(process, b"got " + name.encode())
    process.kill()
    process.wait()


def test_default_action_of_sigterm(t):
    process, below = running_cell(t, "echo ready; exec sleep 100")
    process.send_signal(signal.SIGTERM)
    done = t.finish(process)
    t.equal(done.status, 128 + 15, done.err)
    wait_gone(t, below)


def test_second_sigterm_ends_a_deaf_cell(t):
    process, below = running_cell(t, "trap '' TERM; echo ready; while :; do :; done")
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    t.check(process.poll() is None, "the program ignores it, yet the cell ended")
    process.send_signal(signal.SIGTERM)
    t.finish(process)
    wait_gone(t, below)


def test_killed_launcher_leaves_nothing(t):
    before = set(os.listdir("/tmp")), set(os.listdir("/dev/shm"))
    process, below = running_cell(t)
    t.check(below, "no process below the launcher")
    process.kill()
    process.wait()
    wait_gone(t, below)
    left = [x for now, old in zip((set(os.listdir("/tmp")), set(os.listdir("/dev/shm"))), before)
            for x in now - old if "cloister" in x and "cloister-system-" not in x and "cloister-guest-" not in x]
    t.equal(left, [])


def test_launcher_killed_while_it_starts(t):
    for delay in (0.0, 0.05, 0.15, 0.3):
        process = t.start(["/bin/sleep", "100"])
        time.sleep(delay)
        below = descendants(process.pid)
        process.kill()
        process.wait()
        wait_gone(t, below)


@only("x86")
def test_killed_qemu(t):
    process, below = running_cell(t)
    qemu = [p for p, n in names_of(below).items() if n.startswith("qemu")]
    t.check(qemu, names_of(below))
    for pid in qemu:
        os.kill(pid, signal.SIGKILL)
    done = t.finish(process)
    t.equal(done.status, 124, done.err)
    t.check(b"qemu" in done.err.lower(), done.err)
    wait_gone(t, below)


@only("x86")
def test_killed_virtiofsd(t):
    process, below = running_cell(t, "echo ready; while :; do ls -R /usr/share >/dev/null 2>&1; done")
    daemons = [p for p, n in names_of(below).items() if n.startswith("virtiofsd")]
    t.check(daemons, names_of(below))
    for pid in daemons:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    done = t.finish(process)
    t.equal(done.status, 124, done.err)
    t.check(b"virtiofsd" in done.err.lower(), done.err)
    wait_gone(t, below)


def test_orphans_end_with_the_first_process(t):
    done = t.cell(["/bin/sh", "-c", "sleep 1000 & (sleep 1000 &) ; echo left"], status=0, timeout=60)
    t.equal(done.out, b"left\n")


def test_first_process_has_no_default_death(t):
    # As in Linux's own init, and in a container: the program is pid 1 or not, a status of 128+N must come out.
    done = t.cell(["/bin/bash", "-c", "sleep 100 & kill -TERM $!; wait $!; echo $?"], status=0)
    t.equal(done.out, b"143\n")

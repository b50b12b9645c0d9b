# SPDX-License-Identifier: Apache-2.0
"""What only the hosted port has: a cell of host processes, any of which may be killed; its confinement as seen from outside."""
import ctypes
import os
import re
import signal
import subprocess
import time

from harness import common
from harness.system import serial
from signals import descendants, wait_gone  # the file beside this one

PORTS = ("hosted",)

PR_SET_THP_DISABLE = 41
FORKS = "for n in $(seq 50); do (echo $n | cat >/dev/null) || exit 1; done; echo ready; read line; exit 7"
KILLED = 120  # EXIT_CELL_KILLED
ROUNDS = 100


def running_cell(t):
    """A cell of several host processes: the launcher, and everything below it (supervisor, broker, kernel, programs)."""
    process = t.start(["/bin/sh", "-c", "sleep 1000 & (sleep 1000; :) & echo ready; wait"])
    t.wait_for_line(process, b"ready")
    return process, sorted(descendants(process.pid))


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def no_huge_pages():
    if ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0):
        raise OSError("prctl")


def lines_of(path):
    """None of a process that the host is ending: the cell may have waited for it already."""
    try:
        with open(path) as f:
            return f.readlines()
    except (FileNotFoundError, ProcessLookupError):
        return []


def huge_bytes(pids):
    """Of the cell's memory, as mapped by these processes; None when none of them maps it."""
    total = None
    for pid in pids:
        of_cell = False
        for line in lines_of(f"/proc/{pid}/smaps"):
            if re.match(r"[0-9a-f]+-", line):
                of_cell = "memfd:cell" in line
                total = total or 0 if of_cell else total
            elif of_cell and line.startswith("ShmemPmdMapped:"):
                total += int(line.split()[1]) << 10
    return total


def test_a_host_without_huge_pages(t):
    """Here for the caller only, who hands it on: the kernel's data is plain pages."""
    process = t.start(["/bin/bash", "-c", FORKS], stdin=subprocess.PIPE, preexec_fn=no_huge_pages)
    t.wait_for_line(process, b"ready")
    t.equal(huge_bytes(descendants(process.pid)), 0)
    process.stdin.write(b"\n")
    t.equal(t.finish(process).status, 7)


@serial
def test_killing_any_process_ends_the_cell(t):
    for number in range(ROUNDS):
        process, below = running_cell(t)
        t.check(len(below) >= 4, below)
        victim = below[number % len(below)]
        start = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        done = t.finish(process, timeout=20)
        seconds = time.monotonic() - start
        t.equal(done.status, KILLED, f"round {number}", done.err)
        # Programs that still start may complain of their files before they are ended, into each other's lines.
        t.equal(done.err.count(b"cloister: "), 1, done.err)
        t.check(seconds < 1 * t.arguments.slow, f"it took {seconds:.2f} s")
        wait_gone(t, below)


def test_killed_launcher_leaves_nothing(t):
    for _ in range(10):
        process, below = running_cell(t)
        process.kill()
        process.communicate()
        wait_gone(t, below)


def test_launcher_killed_while_it_starts(t):
    for delay in (0, 0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03):
        process = t.start(["/bin/sleep", "100"])
        time.sleep(delay)
        below = descendants(process.pid)
        process.kill()
        process.communicate()
        wait_gone(t, below)


def test_cell_processes_have_no_rights(t):
    """Of the host: no capabilities, no new privileges, a filter, namespaces and a session of their own."""
    process, below = running_cell(t)
    try:
        supervisor, broker, *cell = below
        t.check(len(cell) >= 3, below)
        own = {n: os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "mnt", "net", "ipc", "uts", "user")}
        for pid in cell:
            status = status_of(pid)
            for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                t.equal(int(status[name], 16), 0, pid, name)
            t.equal(status["NoNewPrivs"], "1")
            t.equal(status["Seccomp"], "2")
            t.check(os.getsid(pid) == supervisor, "not in the supervisor's session")
            t.equal(status["PPid"], str(supervisor))
            if os.geteuid() == 0:
                t.equal(status["Uid"].split()[1], "65534")
                for name, value in own.items():
                    t.check(os.readlink(f"/proc/{pid}/ns/{name}") != value, f"in the host's {name} namespace")
                t.equal(os.listdir(f"/proc/{pid}/root/"), [], "its root directory is not empty")
        t.check(broker not in cell)
        if os.geteuid() == 0:
            t.equal(os.listdir(f"/proc/{broker}/root/"), [], "the broker's root directory is not empty")
            t.check(os.path.samefile(f"/proc/{broker}/cwd", f"/proc/{broker}/cwd/.."), "something is above the broker's directory")
    finally:
        common.stop(process)
        process.communicate()
    wait_gone(t, below)


READER = r"""
$| = 1; open(F, "+<", "/work/file") or die;
sub part { sysseek(F, $_[0], 0); my $n = sysread(F, my $text, $_[1]); "$n " . ($text =~ tr/x//c) . "\n" }
while (<STDIN>) {
    my ($what, $at, $size) = split;
    print part($at, $size) if $what eq "read";
    if ($what eq "often") { part(4096 * ($_ % 30), 4096) for 1 .. 500; print "done\n" }
    if ($what eq "fork") { fork or sleep 1000; print "done\n" }
    if ($what eq "close") { close(F); print "done\n" }
}
"""


def mappings_of(path, pids):
    """The processes that have the file mapped."""
    found, inode = [], str(os.stat(path).st_ino)
    for pid in pids:
        with open(f"/proc/{pid}/maps") as f:
            if any(line.split()[4] == inode for line in f):
                found.append(pid)
    return found


def test_files_read_in_small_pieces(t):
    """They are mapped as long as they are open, in the process that reads; and what the host does to them is seen at once."""
    path = os.path.join(t.scratch, "file")
    with open(path, "w") as f:
        f.write("x" * (40 * 4096))
    process = t.start(["/usr/bin/perl", "-e", READER], "--mount", f"{t.scratch}:/work:rw", stdin=-1)

    def ask(question, answer):
        process.stdin.write(question.encode() + b"\n")
        process.stdin.flush()
        t.equal(t.wait_for_line(process, b"").decode().strip(), answer, question)

    try:
        ask("often", "done")
        ask("fork", "done")
        coherent = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True).stdout.strip() in \
            ("ext2/ext3", "xfs", "btrfs", "f2fs")
        t.equal(len(mappings_of(path, descendants(process.pid))), 1 if coherent else 0)
        for size in (33 * 4096 + 10, 20 * 4096, 10 * 4096 + 100, 10):
            os.truncate(path, size)
            for page in range(0, 40, 3):
                left = min(max(size - page * 4096, 0), 4096)
                ask(f"read {page * 4096} 4096", f"{left} 0")
            with open(path, "r+") as f:
                f.write("x" * (40 * 4096))
            ask("often", "done")
            ask("read 40000 4096", "4096 0")
        with open(path, "r+") as f:
            f.seek(50000)
            f.write("yyy")
        ask("read 49152 4096", "4096 3")
        ask("close", "done")
        t.equal(mappings_of(path, descendants(process.pid)), [])
    finally:
        common.stop(process)
        process.communicate()


def group_of(process, t):
    """The control group that a verbose launcher says it made."""
    for line in process.stderr:
        found = re.search(rb"control group (\S+),", line)
        if found:
            return found.group(1).decode()
        if b"not bounded" in line:
            t.skip("this host lets us make no control group")
    raise AssertionError("no word of a control group")


def test_verbose_tells_of_protection_keys(t):
    def said(*options):
        done = t.cell(["/bin/true"], "--verbose", *options, status=0)
        return re.search(rb"the kernel's memory (?:is closed|stays open).*", done.err).group(0).decode()

    with open("/proc/cpuinfo") as f:
        flags = f.read()
    if " ospke" in flags:
        t.equal(said(), "the kernel's memory is closed by a protection key while programs run")
    elif " pku" not in flags:
        t.equal(said(), "the kernel's memory stays open to the program's stray accesses: the processor has no protection keys")
    t.equal(said("--no-pkeys"), "the kernel's memory stays open to the program's stray accesses: --no-pkeys")


def test_control_group_goes_with_the_cell(t):
    process = t.start(["/bin/sh", "-c", "echo ready; sleep 1000"], "--verbose", "--memory", "256M")
    group = group_of(process, t)
    t.wait_for_line(process, b"ready")
    for _ in range(100):  # until the shell has its child
        with open(os.path.join(group, "cgroup.procs")) as f:
            members = {int(line) for line in f}
        if members == (below := set(descendants(process.pid))):
            break
        time.sleep(0.05)
    common.stop(process)
    process.communicate()
    t.equal(members, below)
    t.check(not os.path.exists(group), group)


def test_control_group_of_a_killed_launcher_is_swept(t):
    process = t.start(["/bin/sh", "-c", "echo ready; sleep 1000"], "--verbose")
    group = group_of(process, t)
    t.wait_for_line(process, b"ready")
    below = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_gone(t, below)
    for _ in range(100):  # the last process may still be in it, dead
        t.cell(["/bin/true"], status=0)
        if not os.path.exists(group):
            return
        time.sleep(0.05)
    t.check(False, "still there:", group)

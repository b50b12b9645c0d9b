# SPDX-License-Identifier: Apache-2.0
"""The items of bench/hosted: what is run on every side, what is measured, and what is to be reached."""
import dataclasses
import os
import re
import shutil
import statistics

import network
import work
from sides import Failed

CALLS_PEER, PROGRAMS_PEER = 10, 2  # times as fast as runsc


def has_protection_keys():
    with open("/proc/cpuinfo") as f:
        return bool(re.search(r"^flags\s*:.*\bospke\b", f.read(), re.M))


@dataclasses.dataclass
class Measure:
    name: str
    unit: str          # lower is better
    goal: float        # at most this multiple of native; None: no goal
    text: str
    peer_goal: float = None  # runsc takes at least so many times longer
    extra: float = None      # instead of a multiple: at most so much more than native


ENTRY_GOAL = 0.5 if has_protection_keys() else 0.2

MICRO = [Measure(name, "ns", goal, text, None if name == "fault" else CALLS_PEER) for name, goal, text in [
    ("getppid", ENTRY_GOAL, "getppid"),
    ("lseek", ENTRY_GOAL, "lseek"),
    ("pipe_self", 0.6, "a byte written to a pipe and read by the same thread"),
    ("eventfd", 0.6, "write and read of an eventfd"),
    ("poll10", 0.6, "poll of 10 ready pipes"),
    ("futex_wake", 0.6, "futex wake with nobody waiting"),
    ("pipe_threads", 1.1, "a byte to another thread and back through pipes"),
    ("pipe", None, "a byte to another process and back through pipes"),
    ("futex", 1.1, "futex ping-pong between two threads, there and back"),
    ("unix", 1.1, "a byte to another thread and back through a unix socket"),
    ("stat", 0.8, "stat of a cached path on a granted tree"),
    ("open_read_close", 3.0, "open, read, close of files never seen before on a granted tree"),
    ("pread", 1.15, "pread of 4 KiB on a granted tree, cached"),
    ("fault", 1.2, "first touch of an anonymous page"),
    ("mmap_munmap", 1.2, "mmap and munmap of 64 KiB"),
    ("fork", 1.5, "fork, exit, wait"),
    ("fork_exec", 1.8, "fork, exec of /bin/true, wait"),
]]


class MicroItem:
    """The single operations, timed inside by bench/micro."""
    name = "micro"

    def __init__(self, directory, only, divide):
        self.directory, self.divide = directory, divide
        self.measures = [m for m in MICRO if re.search(only, m.name) or re.search(only, self.name)]

    def prepare(self):
        work.make_micro(self.directory)
        if not os.path.isdir(os.path.join(self.directory, "tree")):
            work.make_tree(os.path.join(self.directory, "tree"), 10000)

    def run(self, side):
        divide = self.divide * (10 if side.name == "runsc" else 1)
        out, _, _ = side.run([os.path.join(self.directory, "micro"), "--divide", str(divide),
                              *(m.name for m in self.measures)], 60)
        values = {}
        for line in out.splitlines():
            name, value = line.split()
            values[name] = float(value)
        missing = [m.name for m in self.measures if m.name not in values]
        if missing:
            raise Failed("no value for " + ", ".join(missing))
        return values


class NetworkItem:
    """TCP to a server of the host's loopback, timed inside."""
    name = "network"
    measures = [Measure(name, "us" if goal else "ms", goal, text) for name, goal, text in [
        ("net_receive", None, "64 MiB from a server of the host by TCP"),
        ("net_send", None, "64 MiB to it"),
        ("net_ping", 2.0, "a byte there and back, waited for in recv"),
        ("net_epoll", 3.0, "a byte there and back, waited for in epoll_wait"),
        ("net_connect", 3.0, "connect, a byte there and back, close"),
    ]]

    def prepare(self):
        pass

    def run(self, side):
        if side.name == "runsc":
            raise Failed("has no network here")
        server = network.Server()
        try:
            out, _, _ = side.run(["/usr/bin/python3", "-c", network.CLIENT, "127.0.0.1", str(server.port)], 60,
                                 ("--connect", f"tcp:127.0.0.1:{server.port}"))
        finally:
            server.close()
        units = {m.name: 1e3 if m.unit == "us" else 1e6 for m in self.measures}
        return {name: float(value) / units[name] for name, value in map(str.split, out.splitlines())}


class StartItem:
    """The shortest program, from outside."""
    name = "start"

    def __init__(self, divide):
        self.count = max(2, 10 // divide)
        self.measures = [Measure("start", "ms", None, "start to end of /bin/true", PROGRAMS_PEER, extra=10)]

    def prepare(self):
        pass

    def run(self, side):
        return {"start": statistics.median(side.run(["/bin/true"])[2] * 1000 for _ in range(self.count))}


class ProgramItem:
    """A program from start to end; and inside the cell, where the cell's own start is not in it."""

    def __init__(self, directory, name, argv, goal, text, repeat=1, inside=True, prepare=None, before=None):
        self.directory, self.name, self.argv = directory, name, argv
        self.repeat, self.inside = repeat, inside
        self.prepare_once, self.before = prepare, before
        # What computes or copies is as fast on any port.
        self.measures = [Measure(name, "ms", goal, text, PROGRAMS_PEER if goal > 1.1 else None)]

    def prepare(self):
        work.make_micro(self.directory)
        if self.prepare_once:
            self.prepare_once(self.directory)

    def once(self, side, argv):
        if self.before:
            self.before(self.directory)
        return side.run(argv, 120)

    def run(self, side):
        found = {self.name: statistics.median(self.once(side, self.argv)[2] * 1000 for _ in range(self.repeat))}
        if self.inside:
            # Only what needs no cleaning up in between runs more than once in one cell.
            count = 1 if self.before else self.repeat
            timed = [os.path.join(self.directory, "micro"), "time", "-n", str(count), *self.argv]
            times = re.findall(r"^time (\d+)$", self.once(side, timed)[1], re.M)
            if not times:
                raise Failed("no time from inside")
            found[self.name + ".inside"] = statistics.median(int(t) / 1e6 for t in times)
        return found


class SpeedItem:
    """openssl's own measure: nanoseconds for a KiB, by the clock on the wall."""

    def __init__(self, algorithm):
        self.name = "openssl_" + algorithm.replace("-", "_")
        self.algorithm = algorithm
        self.measures = [Measure(self.name, "ns/KiB", 1.01, f"openssl speed {algorithm}")]

    def prepare(self):
        pass

    def run(self, side):
        out, _, _ = side.run(["/usr/bin/openssl", "speed", "-elapsed", "-mr", "-seconds", "1", "-bytes", "16384", "-evp",
                              self.algorithm], 30)
        found = re.search(r"^\+F:\d+:[^:]+:([\d.]+)", out, re.M)
        if not found:
            raise Failed("no figure in: " + out[-200:])
        return {self.name: 1024e9 / float(found.group(1))}


def remove(*names):
    def before(directory):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)
    return before


def fresh_project(directory):
    remove("build")(directory)
    shutil.copytree(os.path.join(directory, "project"), os.path.join(directory, "build"))


def make_once(name, maker, *more):
    def prepare(directory):
        path = os.path.join(directory, name)
        if not os.path.exists(path):
            maker(path, *more)
    return prepare


COMPUTE = """
def primes(n):
    sieve = bytearray([1]) * n
    for i in range(2, int(n ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, n, i)))
    return sum(sieve) - 2
def collatz(limit):
    best = 0
    for start in range(1, limit):
        n, steps = start, 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        best = max(best, steps)
    return best
table = {}
for i in range(300000):
    table[str(i)] = [i, i * i]
print(primes(2000000), collatz(40000), sum(v[1] for v in table.values()))
"""


def programs(directory):
    def at(name):
        return os.path.join(directory, name)

    def item(*a, **b):
        return ProgramItem(directory, *a, **b)

    sequential = make_once("sequential", work.make_sequential, 1024)
    tree = make_once("tree", work.make_tree, 10000)
    return [
        item("python", ["/usr/bin/python3", "-c", "pass"], 1.3, "python3 -c pass", repeat=5),
        item("make", ["/usr/bin/make", "-s", "-j2", "-C", at("build")], 1.3, "make -j2 of 20 C files",
             prepare=make_once("project", work.make_project), before=fresh_project),
        item("git_status", ["/usr/bin/git", "-c", "safe.directory=*", "-C", at("repository"), "status", "--porcelain"], 1.3,
             "git status on 5,000 files", repeat=5, prepare=make_once("repository", work.make_repository, 5000)),
        item("sqlite", ["/usr/bin/sqlite3", at("test.db"), ".read " + at("inserts.sql")], 1.3,
             "sqlite3, 100,000 inserts", prepare=make_once("inserts.sql", work.make_inserts),
             before=remove("test.db", "test.db-journal")),
        item("tar", ["/bin/sh", "-c", f"tar cf - -C {directory} tree | cat >/dev/null"], 1.3, "tar c of 10,000 files",
             prepare=tree),
        item("bash_forks", ["/bin/bash", "-c", "for ((i = 0; i < 500; i++)); do (:); done"], 1.3,
             "bash loop forking 500 times"),
        item("read", ["/bin/dd", f"if={at('sequential')}", "of=/dev/null", "bs=1M", "status=none"], 1.02,
             "sequential read of 1 GiB on a granted tree", repeat=3, prepare=sequential),
        item("write", ["/bin/dd", "if=/dev/zero", f"of={at('written')}", "bs=1M", "count=1024", "status=none"], 1.02,
             "sequential write of 1 GiB on a granted tree", before=remove("written")),
        item("gzip", ["/bin/sh", "-c", f"gzip -c {at('text')} >/dev/null"], 1.01, "gzip of 100 MiB",
             prepare=make_once("text", work.make_text, 100)),
        item("compute", ["/usr/bin/python3", "-c", COMPUTE], 1.01, "python3 computing"),
        SpeedItem("sha256"),
        SpeedItem("aes-256-gcm"),
    ]


def make(directory, only, divide):
    """The items whose name, or one of whose measures' names, contains the regular expression `only`."""
    micro = MicroItem(directory, only, divide)
    items = [micro] if micro.measures else []
    return items + [i for i in [StartItem(divide), NetworkItem(), *programs(directory)] if re.search(only, i.name)]

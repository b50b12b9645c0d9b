# SPDX-License-Identifier: Apache-2.0
"""Results, paths, and running a cell with a time limit."""
import dataclasses
import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("CLOISTER_BUILD", os.path.join(TOP, "build")))

PASS, FAIL, SKIP = "pass", "FAIL", "skip"

# Where tests run: natively, and in cells on each port, with what `cloister run --port` calls it.
CELL_PORTS = {"hosted": "hosted", "x86": "qemu"}
PORTS = ("native", *CELL_PORTS)
DEFAULT_PORTS = "native,hosted,x86"


def scratch_base():
    """Where tests keep files on the host: on no tmpfs of Linux, whose pages are no cache to drop, and which shows what a mapping stored
    beyond the end when the file grows."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/tmp"], capture_output=True, text=True, check=True).stdout.strip()
    return "/var/tmp" if kind == "tmpfs" else "/tmp"


def parse_ports(text):
    """"native,hosted", "qemu" (another word for x86) or "all"."""
    names = list(PORTS) if text == "all" else ["x86" if p == "qemu" else p for p in text.split(",")]
    for name in names:
        if name not in PORTS:
            sys.exit(f"--port {name}: want {', '.join(PORTS)}, qemu or all")
    return names


@dataclasses.dataclass
class Result:
    """The outcome of one test on one port."""
    name: str
    port: str
    outcome: str
    reason: str = ""  # why it failed or was skipped; may be several lines
    seconds: float = 0.0


class Results:
    """Collects results; prints them side by side and the counting line."""

    def __init__(self):
        self.all = []

    def add(self, result):
        self.all.append(result)

    def count(self, outcome, port=None):
        return sum(r.outcome == outcome and port in (None, r.port) for r in self.all)

    def show(self, suite, ports, verbose):
        names = list(dict.fromkeys(r.name for r in self.all))
        cells = {(r.name, r.port): r for r in self.all}
        width = max((len(n) for n in names), default=4)
        if len(ports) > 1:
            print(f"{'':{width}}  " + "  ".join(f"{p:>13}" for p in ports))
        for name in names:
            row = [cells.get((name, p)) for p in ports]
            text = "  ".join(f"{r.outcome + f' {r.seconds:6.2f} s':>13}" if r else f"{'-':>13}" for r in row)
            if verbose or len(ports) > 1 or any(r and r.outcome != PASS for r in row):
                print(f"{name:{width}}  {text}")
        if len(ports) > 1:
            counts = ["  ".join(f"{n} {o}" for o in (PASS, FAIL, SKIP) if (n := self.count(o, p))) or "-" for p in ports]
            print("\n".join(f"  {p}: {c}" for p, c in zip(ports, counts)))
        for r in self.all:
            if r.outcome == FAIL:
                print(f"\nFAIL {r.name} on {r.port}:\n" + "\n".join("    " + line for line in r.reason.splitlines()[:40]))
        for r in self.all:
            if r.outcome == SKIP:
                print(f"skipped: {r.name} on {r.port}: {r.reason}")
        print(f"{suite}: {self.count(PASS)} passed, {self.count(FAIL)} failed, {self.count(SKIP)} skipped", flush=True)
        return self.count(FAIL) == 0


def cloister_path(build=None):
    return os.path.join(build or BUILD, "host", "cloister")


@dataclasses.dataclass
class Outcome:
    """What a command did. `status` is its exit status, -N for signal N, None when it had to be killed."""
    status: int
    out: bytes
    err: bytes
    seconds: float

    def text(self):
        return (self.out + self.err).decode("utf-8", "replace")


def stop(process):
    """Ends a process that is over its time: gently first, so that a launcher can clean up."""
    for number, grace in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            process.send_signal(number)
            process.wait(grace)
            return
        except subprocess.TimeoutExpired:
            pass


def command(argv, timeout=60, stdin=b"", env=None, cwd=None, preexec=None):
    """Runs a command to its end, or to the time limit."""
    start = time.monotonic()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd, preexec_fn=preexec)
    try:
        out, err = process.communicate(stdin, timeout)
        status = process.returncode
    except subprocess.TimeoutExpired:
        stop(process)
        status = None
        # What it left behind may hold the pipes: do not wait for their end for long.
        try:
            out, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            out, err = b"", b"(output lost: the pipes are still held)"
        err += f"\n[killed after {timeout} s]".encode()
    return Outcome(status, out, err, time.monotonic() - start)


def run_argv(*arguments, port, build=None):
    """`cloister run` with these arguments, on a port."""
    return [cloister_path(build), "run", "--port", CELL_PORTS[port], *arguments]


def cell_argv(program, *options, port, build=None):
    """The command line of a cell."""
    return run_argv("--no-tty", *options, "--", *program, port=port, build=build)


@functools.lru_cache(None)
def unbounded(port, build=None):
    """Why this host does not bound the memory of a cell as a whole; None when it does."""
    done = command(run_argv("--verbose", "--", "/bin/true", port=port, build=build), 60, None)
    found = re.search(r"memory as a whole is not bounded: .*", done.text())
    return found.group(0) if found else None


def ninja(target, build=None):
    """Brings a build target up to date; exits with what the compiler said if that fails."""
    done = subprocess.run(["ninja", "-C", build or BUILD, target], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.stdout.buffer.write(done.stdout)
        sys.exit(f"cannot build {target}")


class LineReader:
    """Reads lines of a stream in a thread, so that a reader can wait with a limit."""

    def __init__(self, stream):
        self.condition = threading.Condition()
        self.lines = []
        self.ended = False
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            with self.condition:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                self.condition.notify()
        with self.condition:
            self.ended = True
            self.condition.notify()

    def next(self, timeout):
        """The next line, None at the end; TimeoutError when nothing came."""
        with self.condition:
            if not self.condition.wait_for(lambda: self.lines or self.ended, timeout):
                raise TimeoutError
            return self.lines.pop(0) if self.lines else None

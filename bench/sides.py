# SPDX-License-Identifier: Apache-2.0
"""The sides of bench/hosted: how each runs a command with the work directory readable and writable at its own path."""
import os
import shutil
import signal
import subprocess
import time

import work

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent", "GIT_OPTIONAL_LOCKS": "0"}


class Failed(Exception):
    """A command did not do what was asked; says why."""


class Side:
    """Natively."""
    name = "native"
    patience = 1  # times the time limit

    def __init__(self, directory):
        self.directory = directory
        self.environment = {**ENVIRONMENT, "BENCH_DIRECTORY": directory}

    def argv(self, program, grants=()):
        """grants: what a cell is granted beside what all are."""
        return program

    def start(self, program, stdin=subprocess.DEVNULL, grants=()):
        return subprocess.Popen(self.argv(program, grants), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                cwd=self.directory, env=self.environment, start_new_session=True)

    def run(self, program, timeout=60, grants=()):
        """Runs a program to its end: what it wrote to standard output and error, and the seconds it took."""
        start = time.monotonic()
        process = self.start(program, grants=grants)
        try:
            out, err = process.communicate(timeout=timeout * self.patience)
        except subprocess.TimeoutExpired:
            end(process)
            raise Failed(f"took longer than {timeout * self.patience} s") from None
        seconds = time.monotonic() - start
        text = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        if process.returncode != 0:
            raise Failed(f"status {process.returncode}: {(text[1] or text[0])[-300:].strip()}")
        return *text, seconds


class CellSide(Side):
    name = "cell"
    patience = 4

    def __init__(self, directory, port, options):
        super().__init__(directory)
        self.port, self.options = port, options

    def argv(self, program, grants=()):
        env = [x for k, v in self.environment.items() for x in ("--env", f"{k}={v}")]
        return [work.CLOISTER, "run", "--port", self.port, "--no-tty", "--mount", f"{self.directory}:{self.directory}:rw",
                "--workdir", self.directory, *env, *self.options, *grants, "--", *program]


class RunscSide(Side):
    name = "runsc"
    patience = 10

    def argv(self, program, grants=()):
        return ["runsc", "--platform=ptrace", "--network=none", "--ignore-cgroups", "do", "--quiet", "--force-overlay=false",
                "--cwd", self.directory, "--", *program]


def end(process):
    """Gently first: a launcher cleans up. Then its whole session."""
    process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()


def works(side):
    try:
        out, _, _ = side.run(["/bin/sh", "-c", "echo works > probe; cat probe; rm probe"], 30)
        return None if out == "works\n" else f"it printed {out!r}"
    except Failed as why:
        return str(why)


def make(arguments, directory):
    """The sides asked for, without those that do not work here."""
    made = {"native": Side(directory), "cell": CellSide(directory, arguments.port, arguments.option),
            "runsc": RunscSide(directory)}
    sides = []
    for name in arguments.sides.split(","):
        side = made[name]
        if name == "runsc" and not shutil.which("runsc"):
            print("runsc is not installed: left out (./dev setup peers)")
            continue
        trouble = works(side)
        if trouble:
            print(f"{name} does not work here, left out: {trouble}")
        else:
            sides.append(side)
    return sides

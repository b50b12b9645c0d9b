# SPDX-License-Identifier: Apache-2.0
"""The guest suite: plain Linux programs, natively first, then in cells; many in one cell."""
import glob
import os
import re
import shutil
import subprocess
import tempfile

from . import common
from .common import FAIL, PASS, SKIP, Result

# Tests of files, which run a second time on a mounted host directory.
ON_MOUNTS = ("file_", "memory_files", "memory_remap", "fifo", "futex_shared", "unix_", "exec_script", "exec_arguments")
# Tests that need little memory, each with a cell of its own.
SMALL_MEMORY = ("memory_exhaustion",)
# What a mounted host directory cannot do, with the reason. Kept short, and each a documented limit.
MOUNT_SKIPS = {}

TEST_TIMEOUT_S = {"native": 30, "hosted": 30, "x86": 90}
# A cell that says nothing for this long has hung: boot and the longest test, with room for a slow machine.
SILENCE_S = {"native": 40, "hosted": 50, "x86": 130}


class GuestSuite:
    def __init__(self, arguments, results):
        self.arguments = arguments
        self.results = results
        self.directory = os.path.join(common.BUILD, "tests", "guest")
        self.build = arguments.kernel_build

    def names(self):
        sources = glob.glob(os.path.join(common.TOP, "tests", "guest", "*.c"))
        names = sorted(os.path.basename(s)[:-2] for s in sources)
        return [n for n in names if n != "driver" and re.search(self.arguments.filter, n)]

    def know(self, names):
        """Meson looked for the sources when it was set up: have it look again when there are new ones."""
        with open(os.path.join(common.BUILD, "build.ninja")) as f:
            text = f.read()
        if any(f"tests/guest/{name}:" not in text and f"tests/guest/{name} " not in text for name in names):
            subprocess.run(["meson", "setup", "--reconfigure", common.BUILD], check=True, stdout=subprocess.DEVNULL)

    def run(self, ports):
        names = self.names()
        self.know(names)
        common.ninja("guest-tests")
        for port in ports:
            if port == "native":
                self.run_all(port, names, {})
                continue
            ordinary = [n for n in names if n not in SMALL_MEMORY]
            self.run_all(port, ordinary, {})
            self.run_small(port, [n for n in names if n in SMALL_MEMORY])
            if not self.arguments.no_mounts:
                mounted = [n for n in ordinary if n.startswith(ON_MOUNTS)]
                self.run_all(port, mounted, {"mount": True})

    def run_small(self, port, names):
        why = common.unbounded(port, self.build) if names else None
        for name in names if why else ():
            self.results.add(Result(name, port, SKIP, why))
        self.run_all(port, [] if why else names, {"memory": "256M"})

    def run_all(self, port, names, variant):
        """Runs tests in as few cells as possible: a cell that dies fails the test it died in; the rest go on anew."""
        waiting = list(names)
        suffix = "@mount" if variant.get("mount") else ""
        while waiting:
            done = self.run_batch(port, waiting, variant, suffix)
            waiting = [n for n in waiting if n not in done]

    def argv(self, port, names, variant, scratch):
        driver = ["driver", "--timeout", str(TEST_TIMEOUT_S[port] * self.arguments.slow)]
        if port == "native":
            return [os.path.join(self.directory, driver[0]), *driver[1:],
                    *(os.path.join(self.directory, n) for n in names)]
        options = ["--mount", f"{self.directory}:/tests:ro", "--env", "CLOISTER_CELL=1", "--workdir", "/",
                   "--cpus", str(self.arguments.cpus), "--leak-check"]
        if "memory" in variant:
            options += ["--memory", variant["memory"]]
        if variant.get("mount"):
            options += ["--mount", f"{scratch}:/work:rw", "--env", "TMPDIR=/work"]
        return common.cell_argv(["/tests/" + driver[0], *driver[1:], *("/tests/" + n for n in names)], *options,
                                port=port, build=self.build)

    def run_batch(self, port, names, variant, suffix):
        scratch = tempfile.mkdtemp(prefix="cloister-guest-", dir=common.scratch_base())
        os.chmod(scratch, 0o777)
        errors = tempfile.TemporaryFile()
        process = subprocess.Popen(self.argv(port, names, variant, scratch), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "TMPDIR": scratch})
        try:
            return self.follow(process, errors, port, names, suffix)
        finally:
            if process.poll() is None:
                common.stop(process)
            process.stdout.close()
            shutil.rmtree(scratch, ignore_errors=True)

    def follow(self, process, errors, port, names, suffix):
        """Reads the driver's report. Returns the tests that are settled."""
        reader = common.LineReader(process.stdout)
        settled, current, said = set(), None, []
        trouble = None
        while True:
            try:
                line = reader.next(SILENCE_S[port] * self.arguments.slow)
            except TimeoutError:
                trouble = "the cell hung: no sign of life"
                common.stop(process)
                break
            if line is None:
                break
            if line.startswith("@begin "):
                current, said = line.split()[1], []
            elif line.startswith("@end ") and current:
                self.settle(line, port, said, suffix)
                settled.add(current)
                current = None
            elif line.startswith("@done"):
                break
            elif current:
                said.append(line[2:] if line.startswith("| ") else line)
        if trouble is None and len(settled) < len(names):
            trouble = "the cell ended"
        if trouble is None:
            self.check_end(process, errors, port, suffix, names)
            return settled
        # One test is to blame: the one that ran, or the first that did not start.
        blamed = current or next(n for n in names if n not in settled)
        text = self.error_text(process, errors)
        reason = "\n".join([trouble, *said, text])
        self.results.add(Result(blamed + suffix, port, FAIL, reason))
        self.progress(port, blamed + suffix, FAIL, trouble)
        return settled | {blamed}

    def error_text(self, process, errors):
        if process.poll() is None:
            common.stop(process)
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-60:]) + f"\n(exit status {process.returncode})"

    def check_end(self, process, errors, port, suffix, names):
        """The cell must end well, and with --leak-check report nothing left over."""
        if port == "native":
            process.wait()
            return
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            common.stop(process)
        name = f"(end of cell{suffix}{' small' if names[0] in SMALL_MEMORY else ''})"
        text = self.error_text(process, errors)
        leaks = [line for line in text.splitlines() if line.startswith("leaked: ")]
        if process.returncode != 0:
            self.results.add(Result(name, port, FAIL, "the cell ended badly\n" + text))
        elif leaks:
            self.results.add(Result(name, port, FAIL, "\n".join(leaks)))
        else:
            self.results.add(Result(name, port, PASS))

    def settle(self, line, port, said, suffix):
        _, name, how, value, ms = line.split()
        seconds = int(ms) / 1000
        if how == "exit" and value == "0":
            outcome, reason = PASS, ""
        elif how == "exit" and value == "77":
            outcome = SKIP
            reason = next((s[6:] for s in said if s.startswith("SKIP: ")), "no reason given")
        else:
            outcome = FAIL
            reason = "\n".join(said + [f"{how} {value}"])
        self.results.add(Result(name + suffix, port, outcome, reason, seconds))
        self.progress(port, name + suffix, outcome, reason)

    def progress(self, port, name, outcome, reason):
        if self.arguments.verbose:
            print(f"{port}: {name}: {outcome}" + (f"\n    {reason}" if outcome == FAIL else ""), flush=True)

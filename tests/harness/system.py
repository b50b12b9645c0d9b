# SPDX-License-Identifier: Apache-2.0
"""The system suite: whole cells running real programs. The tests are the functions test_* of tests/system/*.py. A file that sets
SUITE belongs to another suite."""
import concurrent.futures
import importlib.util
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from . import common
from .common import FAIL, PASS, SKIP, Result

# The environment of a command in both worlds.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/tmp",
               "TZ": "UTC"}


class Skip(Exception):
    pass


NATIVE_TMP = threading.Lock()


def only(*ports):
    """Marks a test of what only some ports have. A file of such tests sets PORTS instead."""
    def mark(function):
        function.ports = ports
        return function
    return mark


def serial(function):
    """Marks a test that must not share the machine with others."""
    function.serial = True
    return function


class Test:
    """What a test function gets: a scratch directory, cells, native runs, checks."""

    def __init__(self, arguments, port):
        self.arguments = arguments
        self.port = port
        self.scratch = tempfile.mkdtemp(prefix="cloister-system-", dir=common.scratch_base())
        os.chmod(self.scratch, 0o755)
        self.environment = dict(ENVIRONMENT)

    def close(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    def skip(self, why):
        raise Skip(why)

    def need(self, *programs):
        for program in programs:
            if not shutil.which(program) and not os.path.exists(program):
                raise Skip(f"{program} is not installed")

    def check(self, condition, *what):
        if not condition:
            raise AssertionError("\n".join(str(w) for w in what))

    def equal(self, actual, expected, *what):
        if actual != expected:
            raise AssertionError("\n".join([f"is       {actual!r}"[:1500], f"expected {expected!r}"[:1500],
                                            *(str(w) for w in what)]))

    def argv(self, program, *options):
        env = [x for k, v in self.environment.items() for x in ("--env", f"{k}={v}")]
        return common.cell_argv(program, "--leak-check", *env, *options, port=self.port, build=self.arguments.kernel_build)

    def run_argv(self, *arguments):
        """`cloister run` with these arguments and no others, on the port under test."""
        return common.run_argv(*arguments, port=self.port, build=self.arguments.kernel_build)

    def cell(self, program, *options, timeout=90, stdin=b"", cwd="/", status=None, leaks=True, env=None):
        """Runs a program in a cell; the kernel must report no leak."""
        done = common.command(self.argv(program, *options), timeout * self.arguments.slow, stdin, cwd=cwd, env=env)
        done.err, leaked = split_leaks(done.err)
        if done.status is None:
            raise AssertionError(f"the cell did not end within {timeout} s\n" + done.text()[-3000:])
        if leaks and leaked:
            raise AssertionError("leaked:\n" + "\n".join(leaked) + "\n" + done.text()[-1000:])
        if status is not None:
            self.equal(done.status, status, done.text()[-3000:])
        return done

    def native(self, program, stdin=b"", cwd="/"):
        return common.command(program, 60, stdin, env=self.environment, cwd=cwd)

    def same(self, program, *options, stdin=b"", timeout=120, sort=False, status=0):
        """The program prints and returns in a cell what it does natively."""
        with NATIVE_TMP:  # the same script for another port works in the same /tmp
            native = self.native(program, stdin)
        self.equal(native.status, status, "natively:", native.text()[-1000:])
        done = self.cell(program, *options, stdin=stdin, timeout=timeout)
        self.equal(done.status, native.status, done.text()[-3000:])
        for name in ("out", "err"):
            ours, theirs = getattr(done, name), getattr(native, name)
            if sort:
                ours, theirs = sorted(ours.splitlines()), sorted(theirs.splitlines())
            self.equal(ours, theirs, f"standard {name} differs", done.err.decode("utf-8", "replace")[-500:])
        return done

    def script(self, text, *options, **more):
        """The same for a shell script."""
        return self.same(["/bin/bash", "-c", "set -e\n" + text], *options, **more)

    def mounted(self, text, *options, timeout=120, prepare=None, shell="/bin/bash"):
        """The same, in a writable mounted directory, which must end up with the same files."""
        trees = []
        for place in ("native", "cell"):
            directory = os.path.join(self.scratch, place, "work")
            os.makedirs(directory)
            if prepare:
                prepare(directory)
            trees.append(directory)
        program = [shell, "-c", "set -e\n" + text]
        native = self.native(program, cwd=trees[0])
        done = self.cell(program, "--mount", f"{trees[1]}:/work:rw", "--workdir", "/work", *options, timeout=timeout)
        self.equal(done.status, native.status, native.text()[-1000:], done.text()[-3000:])
        self.equal(done.out, native.out, done.text()[-1000:])
        self.equal(snapshot(trees[1]), snapshot(trees[0]), "the files differ", done.text()[-1000:])
        return done

    def start(self, program, *options, **more):
        """Starts a cell and does not wait for it."""
        return subprocess.Popen(self.argv(program, *options), stdin=more.pop("stdin", subprocess.DEVNULL),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", **more)

    def wait_for_line(self, process, wanted, timeout=60):
        """Reads the process's standard output until a line that contains the bytes wanted."""
        timer = threading.Timer(timeout * self.arguments.slow, process.kill)
        timer.start()
        try:
            for line in process.stdout:
                if wanted in line:
                    return line
        finally:
            timer.cancel()
        raise AssertionError(f"no line with {wanted!r}: " + process.stderr.read().decode("utf-8", "replace")[-2000:])

    def finish(self, process, timeout=30):
        """Waits for a cell that was started; its output, errors and status."""
        try:
            out, err = process.communicate(timeout=timeout * self.arguments.slow)
        except subprocess.TimeoutExpired:
            common.stop(process)
            out, err = process.communicate()
            raise AssertionError("the cell did not end\n" + err.decode("utf-8", "replace")[-2000:])
        return common.Outcome(process.returncode, out, err, 0)


def split_leaks(err):
    """Takes the leak report out of what a cell wrote to standard error."""
    kept, leaked = [], []
    for line in err.splitlines(keepends=True):
        (leaked if re.match(rb"leaked: ", line) else kept).append(line)
    return b"".join(kept), [line.decode("utf-8", "replace").rstrip() for line in leaked]


def snapshot(directory):
    """Every name below a directory with its type, mode and content."""
    found = {}
    for root, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(root, name)
            st = os.lstat(path)
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as f:
                    content = f.read()
            else:
                content = None
            found[os.path.relpath(path, directory)] = (st.st_mode, content)
    return found


def collect(pattern, suite):
    tests = []
    directory = os.path.join(common.TOP, "tests", "system")
    sys.path.insert(0, directory)  # for what one file takes from another
    for path in sorted(glob.glob(os.path.join(directory, "*.py"))):
        module_name = os.path.basename(path)[:-3]
        spec = importlib.util.spec_from_file_location("system_" + module_name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if getattr(module, "SUITE", "system") != suite:
            continue
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                full = f"{module_name}.{name[5:]}"
                if re.search(pattern, full):
                    ports = getattr(function, "ports", getattr(module, "PORTS", tuple(common.CELL_PORTS)))
                    tests.append((full, function, ports))
    return tests


def run_one(name, function, port, arguments):
    start = time.monotonic()
    test = Test(arguments, port)
    outcome, reason = PASS, ""
    try:
        function(test)
    except Skip as why:
        outcome, reason = SKIP, str(why)
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)
        line = next((f for f in reversed(where) if "/tests/system/" in f.filename), where[-1])
        outcome, reason = FAIL, f"{os.path.basename(line.filename)}:{line.lineno}: {line.line}\n{error}"
    except Exception:  # a broken test is a failed test, not the end of the suite
        outcome, reason = FAIL, traceback.format_exc()
    finally:
        test.close()
    if arguments.verbose or outcome != PASS:
        print(f"{port}: {name}: {outcome} {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    return Result(name, port, outcome, reason, time.monotonic() - start)


def run_suite(suite, ports, arguments, results):
    """Runs the tests of a suite on these of its ports."""
    # Test by test, so that the results of the ports come together.
    tests = [(name, function, port) for name, function, known in collect(arguments.filter, suite) for port in ports if port in known]
    shared = [t for t in tests if not getattr(t[1], "serial", False)]
    alone = [t for t in tests if getattr(t[1], "serial", False)]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(lambda t: run_one(*t, arguments), shared):
            results.add(result)
    for test in alone:
        results.add(run_one(*test, arguments))


def run(arguments, suite="system"):
    results = common.Results()
    ports = [p for p in common.parse_ports(arguments.port) if p in common.CELL_PORTS]
    run_suite(suite, ports, arguments, results)
    return results.show(suite, ports, arguments.verbose)

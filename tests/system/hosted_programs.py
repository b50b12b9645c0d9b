# SPDX-License-Identifier: Apache-2.0
"""Port hosted under programs that were made to break kernels: stress-ng, and Python's own regression tests.

Python's results are compared one by one with the native ones, which are kept in the build directory for as long as package, host
and user are the same. What differs must be in ACCEPTED, with the reason."""
import fnmatch
import json
import os
import subprocess
import time
import xml.etree.ElementTree

from harness import common
from signals import descendants, wait_gone

PORTS = ("hosted",)

SOAK = bool(os.environ.get("CLOISTER_SOAK"))
PYTHON = "/usr/bin/python3"

# Names of tests, shell patterns allowed, that end otherwise in a cell than natively: why that is right, or a known gap.
ACCEPTED = {}


# ---- Python's regression tests ----

# Hang natively where containers nest: left out on both sides.
IGNORED = {"test_asyncio": ["test_kill_issue43884"]}


def python_argv(module, output, matches, timeout):
    patterns = [x for m in matches for x in ("-m", m)] + [x for i in IGNORED.get(module, ()) for x in ("-i", i)]
    return [PYTHON, "-m", "test", "--timeout", str(timeout), f"--junit-xml={output}", *patterns, module]


def outcomes(path):
    """The outcome of each test in a JUnit file."""
    found = {}
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        outcome, why = "passed", ""
        for kind in ("skipped", "failure", "error"):
            element = case.find(kind)
            if element is not None:
                outcome, why = kind, (element.get("message") or "") + (element.text or "")
        # A class or module that could not be set up, or one test with several subtests: the worst counts.
        old = found.get(case.get("name"), ("", ""))
        if old[0] not in ("failure", "error"):
            found[case.get("name")] = (outcome, why)
    return found


def oracle_key():
    package = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libpython3.11-testsuite"], stdout=subprocess.PIPE, text=True)
    return f"{package.stdout} {os.uname().release} {os.geteuid()}"


def native_outcomes(t, module, matches, timeout):
    kept = os.path.join(common.BUILD, "tests", "python", module + ".json")
    try:
        with open(kept) as f:
            stored = json.load(f)
        if stored["key"] == [oracle_key(), *matches]:
            return {k: tuple(v) for k, v in stored["outcomes"].items()}
    except (OSError, ValueError, KeyError):
        pass
    output = os.path.join(t.scratch, "native.xml")
    done = common.command(python_argv(module, output, matches, timeout - 5), timeout, None, env=t.environment, cwd="/tmp")
    t.check(os.path.exists(output), "natively:", done.status, done.text()[-2000:])
    found = outcomes(output)
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    with open(kept, "w") as f:
        json.dump({"key": [oracle_key(), *matches], "outcomes": found}, f)
    return found


def accepted(name):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in ACCEPTED)


def compare(native, ours):
    """What passes natively and does not in the cell, by the tests' names."""
    found = {}
    for name, (outcome, why) in ours.items():
        theirs = native.get(name, ("absent", ""))[0]
        worse = outcome in ("failure", "error") and theirs not in ("failure", "error")
        if (worse or outcome == "skipped" and theirs == "passed") and not accepted(name):
            found[name] = f"{outcome} in the cell, {theirs} natively: " + " / ".join(why.strip().splitlines()[-2:])[:300]
    for name, (outcome, _) in native.items():
        if name not in ours and outcome == "passed" and not accepted(name):
            found[name] = "did not run in the cell"
    return found


def regression(t, module, *matches, timeout=240):
    if not os.path.exists(f"/usr/lib/python3.11/test/{module}.py") and not os.path.isdir(f"/usr/lib/python3.11/test/{module}"):
        t.skip("libpython3.11-testsuite is not installed")
    native = native_outcomes(t, module, matches, timeout)
    t.check(len(native) > 3, native)
    results = os.path.join(t.scratch, "results")
    os.mkdir(results)
    os.chmod(results, 0o777)
    cell = cell_outcomes(t, results, module, matches, timeout * 2)
    different = compare(native, cell)
    if different and len(different) <= 5:
        # Some of them measure time, and a busy machine fails them: once more, alone.
        again = cell_outcomes(t, results, module, ["*." + name.split(".")[-1] for name in different], timeout)
        different = compare({name: native[name] for name in different if name in native}, again)
    t.check(not different, f"{len(different)} of {len(native)} differ:", *(f"{k}: {v}" for k, v in different.items()))


def cell_outcomes(t, results, module, matches, timeout):
    output = os.path.join(results, "cell.xml")
    if os.path.exists(output):
        os.unlink(output)
    done = t.cell(python_argv(module, "/results/cell.xml", matches, timeout - 5), "--mount", f"{results}:/results:rw", "--workdir", "/tmp",
                  timeout=timeout)
    t.check(os.path.exists(output), done.status, done.text()[-3000:])
    return outcomes(output)


def test_python_os(t):
    regression(t, "test_os")


def test_python_subprocess(t):
    regression(t, "test_subprocess")


def test_python_threading(t):
    regression(t, "test_threading")


def test_python_signal(t):
    regression(t, "test_signal")


def test_python_mmap(t):
    regression(t, "test_mmap")


def test_python_fcntl(t):
    regression(t, "test_fcntl")


def test_python_socket(t):
    regression(t, "test_socket", "*Unix*", "*UNIX*", "*SocketPair*", "*SCMRights*", "*SendRecvFds*")


def test_python_asyncio(t):
    regression(t, "test_asyncio", timeout=400)


def test_python_multiprocessing_fork(t):
    regression(t, "test_multiprocessing_fork", timeout=400)


def test_python_tempfile(t):
    regression(t, "test_tempfile")


def test_python_pathlib(t):
    regression(t, "test_pathlib")


def test_python_posix(t):
    regression(t, "test_posix")


def test_python_select(t):
    regression(t, "test_select")


def test_python_epoll(t):
    regression(t, "test_epoll")


# ---- stress-ng ----

STRESS = ["--cpu", "2", "--vm", "1", "--fork", "2", "--pipe", "2", "--futex", "2", "--sigq", "1", "--mmap", "2"]


def stressed(t, seconds, *stressors):
    t.need("stress-ng")
    done = t.cell(["/usr/bin/stress-ng", *stressors, "-t", f"{seconds}s", "--temp-path", "/tmp", "--verify"],
                  "--workdir", "/tmp", timeout=seconds + 60)
    t.equal(done.status, 0, done.text()[-3000:])
    text = done.text()
    t.check("successful run completed" in text, text[-3000:])
    t.check(" fail: " not in text and "error: " not in text, text[-3000:])


def test_stress(t):
    stressed(t, 60 if SOAK else 10, *STRESS)


def test_stress_of_one_thing_at_a_time(t):
    """Each alone gets further than in company."""
    seconds = 10 if SOAK else 2
    for name in ("fork", "vfork", "clone", "exec", "pthread", "pipe", "futex", "sigq", "sigsegv", "signal", "timer", "timerfd",
                 "eventfd", "epoll", "poll", "mmap", "mremap", "madvise", "shm", "memfd", "sock", "sockpair", "flock", "fcntl",
                 "rename", "dentry", "dir", "fallocate", "hdd", "sem", "switch", "sysinfo", "zombie", "kill", "wait"):
        if name == "exec" and os.geteuid() == 0:
            continue  # stress-ng will not run it as root
        stressed(t, seconds, f"--{name}", "2")


# ---- the host's changes ----

def test_host_changes_reach_watchers(t):
    """inotify in the cell tells of what is done on the host, at once."""
    directory = os.path.join(t.scratch, "watched")
    os.mkdir(directory)
    os.chmod(directory, 0o777)
    script = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(0)
assert libc.inotify_add_watch(fd, b"/watched", 0x100 | 0x200 | 0x2 | 0x40 | 0x80) > 0
print("ready", flush=True)
seen = []
while "gone" not in seen:
    data = os.read(fd, 4096)
    while data:
        _, mask, _, size = struct.unpack_from("iIII", data)
        name = data[16:16 + size].rstrip(b"\\0").decode()
        for bit, word in ((0x100, "made"), (0x200, "removed"), (0x2, "written"), (0x40, "from"), (0x80, "to")):
            if mask & bit and (word + " " + name) not in seen:
                seen.append(word + " " + name)
        if name == "last" and mask & 0x200:
            seen.append("gone")
        data = data[16 + size:]
print(sorted(seen))
"""
    process = t.start([PYTHON, "-c", script], "--mount", f"{directory}:/watched:ro")
    try:
        t.wait_for_line(process, b"ready")
        with open(os.path.join(directory, "new"), "w") as f:
            f.write("x")
        os.rename(os.path.join(directory, "new"), os.path.join(directory, "renamed"))
        os.unlink(os.path.join(directory, "renamed"))
        with open(os.path.join(directory, "last"), "w"):
            pass
        os.unlink(os.path.join(directory, "last"))
        done = t.finish(process, 20)
        for word in ("made new", "written new", "from new", "to renamed", "removed renamed", "made last", "removed last"):
            t.check(word.encode() in done.out, word, done.text()[-1000:])
    finally:
        process.kill()
        process.wait()


def test_host_changes_reach_directory_notification(t):
    """So does F_NOTIFY, by a signal with the directory's descriptor."""
    directory = os.path.join(t.scratch, "notified")
    os.mkdir(directory)
    os.chmod(directory, 0o777)
    script = """
import fcntl, os, signal
number = signal.SIGRTMIN + 1
signal.pthread_sigmask(signal.SIG_BLOCK, [number])
fd = os.open("/notified", os.O_RDONLY)
fcntl.fcntl(fd, 10, number)  # F_SETSIG
fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_MODIFY | fcntl.DN_RENAME | fcntl.DN_DELETE | fcntl.DN_MULTISHOT)
print("ready", flush=True)
names = []
while "last" not in names:
    told = signal.sigwaitinfo([number])
    names = os.listdir("/notified")
    print(told.si_signo == number, told.si_code, *(n for n in ("last", "first") if n in names), flush=True)
"""
    process = t.start([PYTHON, "-c", script], "--mount", f"{directory}:/notified:ro")
    try:
        t.wait_for_line(process, b"ready")
        for name in ("first", "last"):
            with open(os.path.join(directory, "new"), "w") as f:
                f.write("x")
            os.rename(os.path.join(directory, "new"), os.path.join(directory, name))
            t.wait_for_line(process, b"True 3 " + name.encode())  # POLL_MSG; there may be more, for each change one
        t.finish(process, 20)
    finally:
        process.kill()
        process.wait()


def test_host_changes_are_seen_by_name(t):
    """Names and sizes that the cell has seen before are not remembered beyond a change on the host."""
    directory = os.path.join(t.scratch, "seen")
    os.mkdir(directory)
    with open(os.path.join(directory, "file"), "w") as f:
        f.write("1")
    script = ("cat /seen/file; echo; stat -c %s /seen/file; cat /seen/absent 2>/dev/null || echo none; echo ready; read x; "
              "cat /seen/file; echo; stat -c %s /seen/file; cat /seen/absent; echo; cat /seen/removed || echo gone; ls /seen; echo ready; read x")
    with open(os.path.join(directory, "removed"), "w") as f:
        f.write("r")
    process = t.start(["/bin/bash", "-c", "cat /seen/removed; " + script], "--mount", f"{directory}:/seen", stdin=-1)
    try:
        t.wait_for_line(process, b"ready")
        with open(os.path.join(directory, "new"), "w") as f:
            f.write("much longer")
        os.rename(os.path.join(directory, "new"), os.path.join(directory, "file"))
        with open(os.path.join(directory, "absent"), "w") as f:
            f.write("here now")
        os.unlink(os.path.join(directory, "removed"))
        time.sleep(0.2)
        process.stdin.write(b"\n")
        process.stdin.flush()
        lines = [process.stdout.readline().strip() for _ in range(6)]
        t.equal(lines, [b"much longer", b"11", b"here now", b"gone", b"absent", b"file"])
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        wait_gone(t, below)

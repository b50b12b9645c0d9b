# SPDX-License-Identifier: Apache-2.0
"""The emulated suite: port hosted on machines that are as few test machines are: one whose processor has protection keys, with control
groups of version 2, and one whose processor has no FSGSBASE. Cells run in Debian guests under QEMU's emulation, which see this
machine's files (bench/linux_guest.py)."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from . import common
from .common import FAIL, PASS, SKIP, Result

# Ways between program and kernel, and what they carry over. Not those that are slow where two CPUs are emulated (thread_many).
GUEST_TESTS = ("exec_state", "exec_threads", "fault_stray", "fork_basic", "fork_cow", "fork_threads", "process_prctl", "ptrace_stops",
               "signal_altstack", "signal_fault", "signal_frame", "signal_nesting", "signal_storm", "signal_threads", "syscall_places",
               "syscall_sites", "syscall_sites_shared", "syscall_sites_stepped", "thread_basic", "vector_state", "vfork_suspends")
# QEMU 7.2 reads what IRET pops as the supervisor does, also in user mode, which SMAP forbids.
CPU = "max,smap=off"
OLD_CPU = CPU + ",fsgsbase=off"
TIMEOUT_S = 900

PYTHON = """import subprocess, threading
def work(n): print(n, subprocess.run(["/bin/echo", str(n)], capture_output=True).stdout)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
"""

# Three children keep what they have while three greedy ones, one after the other, take what there is.
GREEDY = """import os, time
ready, settled = os.pipe()
modest = []
for _ in range(3):
    modest.append(os.fork())
    if not modest[-1]:
        mine = bytearray(5 << 20)
        os.write(settled, b"x")
        while True: time.sleep(250)
    os.read(ready, 1)
for _ in range(3):
    greedy = os.fork()
    while not greedy: modest.append(bytearray(1 << 20))
    print(os.waitstatus_to_exitcode(os.waitpid(greedy, 0)[1]), [os.waitpid(pid, os.WNOHANG)[0] for pid in modest])
for pid in modest: os.kill(pid, 9)
"""

# What runs in the guest: a name, the rest of `cloister run`, and what the cell says.
CELLS = (
    ("verbose", "--verbose -- /bin/true", r"the kernel's memory is closed by a protection key while programs run"),
    ("verbose_off", "--no-pkeys --verbose -- /bin/true", r"the kernel's memory stays open to the program's stray accesses: --no-pkeys"),
    ("stray", "--mount {tests}/hosted:/attack -- /attack/attack stray closed", r"[1-9]\d+ checks, 0 wrong"),
    ("stray_off", "--no-pkeys --mount {tests}/hosted:/attack -- /attack/attack stray open", r"[1-9]\d+ checks, 0 wrong"),
    ("bash", """-- /bin/bash -c 'trap "echo caught" USR1; seq 5 | while read n; do (echo $n) | cat; done; kill -USR1 $$; wait'""",
     r"1\n2\n3\n4\n5\ncaught"),
    ("python", f"-- /usr/bin/python3 -c '{PYTHON}'", r"(\d b'\d\\n'\n){4}"),
)

# Likewise, once there are control groups.
GROUPED_CELLS = (
    ("cgroup_2", "--verbose --memory 192M -- /bin/true", r"control group /sys/fs/cgroup/cloister-\d+-\d+, 192 MiB"),
    ("cgroup_2_spares_the_modest", f"--memory 192M -- /usr/bin/python3 -c '{GREEDY}'", r"(-9 \[0, 0, 0\]\n){3}"),
)

# On the old processor.
OLD_GUEST_TESTS = ("exec_state", "exec_threads", "fork_basic", "fork_threads", "process_prctl", "ptrace_stops", "signal_frame",
                   "thread_basic", "vfork_suspends")
OLD_CELLS = (("without_fsgsbase", f"-- /usr/bin/python3 -c '{PYTHON}'", r"(\d b'\d\\n'\n){4}"),)


def why_not():
    """Why there can be no guest; None when there can."""
    sys.path.insert(0, os.path.join(common.TOP, "bench"))
    import linux_guest
    for path in (linux_guest.QEMU, linux_guest.VIRTIOFSD, "/bin/busybox"):
        if not os.path.exists(path):
            return f"{path} is missing (./dev setup run bench)"
    if not shutil.which("cpio"):
        return "cpio is missing (./dev setup bench)"
    if common.BUILD.startswith("/tmp/"):
        return "the build directory lies in /tmp, which a guest has for itself"
    try:
        linux_guest.fetch()
    except (OSError, IndexError, subprocess.CalledProcessError) as error:
        return f"the guest's kernel, Debian's linux-image-cloud-amd64, cannot be fetched: {error}"
    return None


def run_of(build, timeout):
    return f"timeout {timeout} {os.path.abspath(common.cloister_path(build))} run --port hosted --no-tty --leak-check"


def cells(build, which):
    """Lines of the guest's script: each cell between marks."""
    tests = os.path.join(common.BUILD, "tests")
    return [line for name, rest, _ in which
            for line in (f"echo @cell {name}", f"{run_of(build, 300)} {rest.replace('{tests}', tests)} 2>&1", "echo @status $?")]


def driver(build, name, which):
    tests = os.path.join(common.BUILD, "tests", "guest")
    programs = " ".join("/tests/" + test for test in which)
    return [f"echo @cell {name}", f"{run_of(build, 800)} --cpus 2 --env CLOISTER_CELL=1 --workdir / --mount {tests}:/tests -- "
            f"/tests/driver --timeout 120 {programs} 2>&1", "echo @status $?"]


def script(build):
    return ["grep -q ' ospke' /proc/cpuinfo && echo the guest has protection keys", *cells(build, CELLS),
            *driver(build, "guest_tests", GUEST_TESTS), "mount -t cgroup2 none /sys/fs/cgroup",
            "echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control", *cells(build, GROUPED_CELLS), "ls -d /sys/fs/cgroup/cloister*"]


def old_script(build):
    return ["grep -q ' fsgsbase' /proc/cpuinfo || echo the guest sets thread pointers by calls", *cells(build, OLD_CELLS),
            *driver(build, "old_guest_tests", OLD_GUEST_TESTS)]


def run_guest(lines, cpu):
    from linux_guest import LinuxGuest
    work = tempfile.mkdtemp(prefix="cloister-emulated-")
    try:
        return LinuxGuest(work, cpus=2, cpu=cpu).run("\n".join(["cd /", *lines]) + "\n", TIMEOUT_S)[0]
    finally:
        shutil.rmtree(work)


def judge(name, text, results):
    """A cell by its output, status and leak report."""
    found = re.search(rf"^@cell {name}\n(.*?)^@status (\d+)$", text, re.M | re.S)
    said = found.group(1) if found else "the guest ended before: " + text[-1000:]
    wanted = next((w for n, _, w in CELLS + GROUPED_CELLS + OLD_CELLS if n == name), "@done")
    good = found and found.group(2) == "0" and re.search(wanted, said) and "leaked: " not in said
    results.add(Result(name, "hosted", PASS if good else FAIL, said[-3000:]))
    return said


def judge_driver(name, tests, text, results, suffix=""):
    ended = dict(re.findall(r"^@end (\S+) (.*)$", judge(name, text, results), re.M))
    for test in tests:
        how = ended.get(test, "did not end")
        results.add(Result(test + suffix, "hosted", PASS if how.startswith("exit 0 ") else FAIL, how))


def judge_new(text, results):
    if "the guest has protection keys" not in text:
        results.add(Result("(protection keys)", "hosted", FAIL, "QEMU's guest has none:\n" + text[-1000:]))
    left = re.findall(r"^/sys/fs/cgroup/cloister.*$", text, re.M)
    results.add(Result("cgroup_2_is_gone", "hosted", FAIL if left else PASS, " ".join(left)))
    for name, _, _ in CELLS + GROUPED_CELLS:
        judge(name, text, results)
    judge_driver("guest_tests", GUEST_TESTS, text, results)


def judge_old(text, results):
    if "the guest sets thread pointers by calls" not in text:
        results.add(Result("(no FSGSBASE)", "hosted", FAIL, "QEMU's guest has it:\n" + text[-1000:]))
    for name, _, _ in OLD_CELLS:
        judge(name, text, results)
    judge_driver("old_guest_tests", OLD_GUEST_TESTS, text, results, "@old")


def run(arguments):
    results = common.Results()
    why = why_not()
    if why:
        results.add(Result("emulated", "hosted", SKIP, why))
        return results.show("emulated", ["hosted"], arguments.verbose)
    for target in ("guest-tests", "hosted-attack"):
        common.ninja(target)
    judge_new(run_guest(script(arguments.kernel_build), CPU), results)
    judge_old(run_guest(old_script(arguments.kernel_build), OLD_CPU), results)
    return results.show("emulated", ["hosted"], arguments.verbose)

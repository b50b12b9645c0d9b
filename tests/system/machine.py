# SPDX-License-Identifier: Apache-2.0
"""Is the machine as asked: CPUs, memory, time, idleness, tracing, summaries?"""
import os
import re
import time

from harness import common
from harness.system import only, serial


def test_cpus(t):
    for cpus in (1, 2, 4):
        done = t.cell(["/bin/sh", "-c", "nproc; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; "
                       "for i in 1 2 3 4; do (for j in $(seq 300); do :; done; echo w) & done; wait"], "--cpus", str(cpus),
                      status=0)
        lines = done.out.decode().splitlines()
        t.equal(lines[:2], [str(cpus)] * 2)
        t.equal(lines[2], "0" if cpus == 1 else f"0-{cpus - 1}")
        t.equal(lines[3:], ["w"] * 4)


def test_cpus_work_side_by_side(t):
    done = t.cell(["/usr/bin/python3", "-c", """
import os
for cpu in range(os.cpu_count()):
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {cpu}); s = sum(range(200000)); os._exit(0 if os.sched_getaffinity(0) == {cpu} else 1)
print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(os.cpu_count())])
"""], "--cpus", "4", status=0)
    t.equal(done.out, b"[0, 0, 0, 0]\n")


def test_memory_sizes(t):
    for size, mib in (("128M", 128), ("256M", 256), ("1G", 1024), ("4G", 4096), ("8G", 8192)):
        done = t.cell(["/bin/grep", "MemTotal", "/proc/meminfo"], "--memory", size, status=0)
        total = int(done.out.split()[1]) / 1024
        t.check(mib * 0.8 <= total <= mib, size, done.out)


def test_memory_above_four_gibibytes_is_usable(t):
    with open("/proc/meminfo") as f:
        available = int(re.search(r"MemAvailable:\s+(\d+)", f.read()).group(1)) >> 20
    if available < 8:
        t.skip("needs 8 GiB of free memory on the host")
    done = t.cell(["/usr/bin/python3", "-c", "b = bytearray(5 << 30)\nfor i in range(0, len(b), 1 << 20): b[i] = i >> 20 & 255\n"
                   "print(all(b[i] == i >> 20 & 255 for i in range(0, len(b), 1 << 20)))"], "--memory", "8G", timeout=400,
                  status=0)
    t.equal(done.out, b"True\n")


def bounded(t):
    why = common.unbounded(t.port, t.arguments.kernel_build)
    if why:
        t.skip(why)


def test_out_of_memory_ends_the_greedy(t):
    bounded(t)
    done = t.cell(["/bin/bash", "-c", "python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'; echo status $?; "
                   "echo still well; seq 3 | sort -r"], "--memory", "192M", status=0, timeout=150)
    t.check(done.out.startswith((b"status 137\n", b"status 1\n")), done.out, done.err)  # killed, or MemoryError
    t.check(done.out.endswith(b"still well\n3\n2\n1\n"), done.out)


def test_out_of_memory_spares_the_modest(t):
    bounded(t)
    done = t.cell(["/usr/bin/python3", "-c", """
import os, time
ready, settled = os.pipe()
modest = []
for _ in range(3):
    modest.append(os.fork())
    if not modest[-1]:
        mine = bytearray(5 << 20)
        os.write(settled, b'x')
        time.sleep(60)
    os.read(ready, 1)
for round in range(3):
    greedy = os.fork()
    if not greedy:
        x = []
        while True: x.append(bytearray(1 << 20))
    print(os.waitstatus_to_exitcode(os.waitpid(greedy, 0)[1]), [os.waitpid(pid, os.WNOHANG)[0] for pid in modest])
for pid in modest: os.kill(pid, 15); os.waitpid(pid, 0)
x = bytearray(90 << 20)
print(sum(x[::4096]))
"""], "--memory", "192M", status=0, timeout=150)
    t.equal(done.out, b"-9 [0, 0, 0]\n" * 3 + b"0\n", done.err)


def test_programs_whose_pages_are_dropped_run_on(t):
    # One CPU: the programs and the dropping take turns, and pages are used again at once.
    done = t.cell(["/bin/bash", "-c", """
(while :; do echo 3 > /proc/sys/vm/drop_caches; done) & dropping=$!
for ((i = 0; i < 60; i++)); do seq 9 | sort -n | tail -1; date +%Z; done | sort | uniq -c
kill $dropping
"""], "--cpus", "1", "--env", "TZ=UTC", status=0, timeout=150)
    t.equal(done.out.split(), b"60 9 60 UTC".split(), done.text())


def test_page_cache_is_dropped_before_anybody_dies(t):
    bounded(t)
    os.mkdir(t.scratch + "/work")
    with open(t.scratch + "/work/large", "wb") as f:
        f.truncate(120 << 20)
    done = t.cell(["/usr/bin/python3", "-c", """
import mmap, os
mine = bytearray(70 << 20)  # with the file it is more than there is
with open('/work/large', 'rb') as f:
    mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    for turn in range(8):
        if turn % 2:
            read = sum(mapped[i] for i in range(0, len(mapped), 4096))
        else:
            f.seek(0)
            read = sum(len(x) for x in iter(lambda: f.read(1 << 20), b''))
        print(read)
with open('/proc/vmstat') as f: print([x for x in f if x.startswith('oom_kill')])
"""], "--memory", "192M", "--mount", f"{t.scratch}/work:/work:ro", status=0, timeout=150)
    t.equal(done.out, b"125829120\n0\n" * 4 + b"['oom_kill 0\\n']\n", done.err)


@serial
def test_idle_cell_uses_no_cpu(t):
    from signals import descendants, names_of  # noqa: F401  (the file beside this one)
    process = t.start(["/bin/sh", "-c", "echo ready; exec sleep 100"], "--cpus", "2")
    try:
        t.wait_for_line(process, b"ready")
        time.sleep(3)
        pids = [process.pid, *descendants(process.pid)]

        def ticks():
            total = 0
            for pid in pids:
                try:
                    with open(f"/proc/{pid}/stat") as f:
                        fields = f.read().rsplit(")", 1)[1].split()
                    total += int(fields[11]) + int(fields[12])
                except OSError:
                    pass
            return total

        before = ticks()
        time.sleep(10)
        used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
        t.check(used <= 0.1, f"{used * 10:.1f} % of a core")
    finally:
        process.terminate()
        process.wait()


def test_wall_time(t):
    done = t.cell(["/bin/date", "+%s.%N"], status=0)
    t.check(abs(float(done.out) - time.time()) < 3, done.out)


def test_time_keeps_pace(t):
    process = t.start(["/bin/bash", "-c", "echo ready; read x; date +%s.%N; sleep 3; date +%s.%N; read x; date +%s.%N"],
                      stdin=-1)
    try:
        t.wait_for_line(process, b"ready")
        first = time.time()
        process.stdin.write(b"\n")
        process.stdin.flush()
        a = float(process.stdout.readline())
        b = float(process.stdout.readline())
        process.stdin.write(b"\n")
        process.stdin.flush()
        c = float(process.stdout.readline())
        last = time.time()
        t.check(b - a >= 3, a, b)
        t.check(abs((c - a) - (last - first)) < 0.5, c - a, last - first)
        t.check(abs(c - last) < 3, c, last)
    finally:
        process.kill()
        process.wait()


def test_trace(t):
    done = t.cell(["/bin/echo", "traced words"], "--trace", status=0)
    t.equal(done.out, b"traced words\n")
    text = done.err.decode("utf-8", "replace")
    for pattern in (r'write\(1, "traced words\\n", 13\)\s+= 13', r"exit_group\(0",
                    r'openat\(AT_FDCWD, "/etc/ld\.so\.cache", [^)]*\)\s+= \d', r"mmap\(.*\)\s+= 0x[0-9a-f]+"):
        t.check(re.search(pattern, text), f"no {pattern} in:", text[:3000])


def test_trace_shows_errors_and_children(t):
    done = t.cell(["/bin/sh", "-c", "/bin/true; cat /nonexistent; exit 0"], "--trace", status=0)
    text = done.err.decode("utf-8", "replace")
    t.check(re.search(r'openat\(AT_FDCWD, "/nonexistent".*= -1 ENOENT', text), text[-2500:])
    t.check(re.search(r"wait4\(", text), text[-2500:])


def test_verbose_says_what_is_chosen(t):
    done = t.cell(["/bin/true"], "--verbose", status=0)
    text = done.err.decode("utf-8", "replace")
    words = {"x86": r"\b(tcg|kvm)\b", "hosted": r"control group|not bounded"}
    lines = [line for line in text.splitlines() if re.search(words[t.port], line)]
    t.check(len(lines) >= 1, text[:2000])


def test_summary_counts_unknown_calls(t):
    done = t.cell(["/usr/bin/python3", "-c", "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n"
                   "r = [l.syscall(180, 0, 0, 0, 0, 0) for _ in range(3)]\nprint(r, ctypes.get_errno())"], "--verbose", status=0)
    t.equal(done.out, b"[-1, -1, -1] 38\n")
    t.check(re.search(rb"nfsservctl.*\b3\b|\b3\b.*nfsservctl", done.err), done.err[-2000:])


def test_layout_is_random(t):
    outs = {t.cell(["/bin/sh", "-c", "grep -E 'stack|ld-linux|vdso' /proc/self/maps | cut -d- -f1"], status=0).out
            for _ in range(3)}
    t.equal(len(outs), 3, outs)


def test_random_bytes_differ_between_cells(t):
    outs = {t.cell(["/usr/bin/head", "-c16", "/dev/urandom"], status=0).out for _ in range(2)}
    t.equal(len(outs), 2)


def test_kernel_answers_for_itself(t):
    done = t.cell(["/bin/sh", "-c", "ls /proc/cloister; cat /proc/cloister/* | head -50"], status=0)
    t.check(done.out, done.err)


def test_concurrent_cells(t):
    processes = [t.start(["/bin/sh", "-c", f"echo cell {i}; sleep 0.5; exit {i}"]) for i in range(4)]
    for i, process in enumerate(processes):
        done = t.finish(process, 90)
        t.equal((done.status, done.out), (i, f"cell {i}\n".encode()), done.err)


def test_panic_says_where_and_ends_with_its_own_status(t):
    done = t.cell(["/bin/sh", "-c", "echo fault > /proc/cloister/panic; echo not reached"], status=124)
    text = done.err.decode()
    t.check("not reached" not in done.out.decode(), done.out)
    fault = {"x86": ("kernel panic: page fault in the kernel", "CR2 ", "rip "),
             "hosted": ("kernel panic: fault at ", "address ffffdead", "rip ")}
    if t.port == "hosted" and "address sanitizer" in text:  # the debug kernel sees it coming, and there are no registers to tell
        fault["hosted"] = ("kernel panic: address sanitizer: wild access: write of 4 bytes", "address ffffdead")
    for part in (*fault[t.port], "panic_write+0x", "sys_write+0x", "trace ring:"):
        t.check(part in text, part, text)
    done = t.cell(["/bin/sh", "-c", "echo please > /proc/cloister/panic"], status=124)
    t.check("asked for by process 1" in done.err.decode(), done.err)


def test_overflow_of_a_kernel_stack_is_named(t):
    if t.port == "hosted" and tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) < (6, 15):
        t.skip("the host has no guards in shared mappings")
    done = t.cell(["/bin/sh", "-c", "echo descend > /proc/cloister/panic; echo not reached"], status=124)
    text = done.err.decode()
    t.check("not reached" not in done.out.decode(), done.out)
    named = {"x86": "guard of a kernel stack", "hosted": "overflow of a kernel stack"}
    for part in (named[t.port], "descend+0x", "trace ring:"):
        t.check(part in text, part, text)


def test_code_lies_elsewhere_in_each_cell(t):
    script = "import re; print(re.search(r'(.*)-.*libc', open('/proc/self/maps').read()).group(1))"
    places = {t.cell(["/usr/bin/python3", "-c", script], status=0).out for _ in range(3)}
    t.check(len(places) > 1, places)

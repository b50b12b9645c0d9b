# SPDX-License-Identifier: Apache-2.0
"""Does a fully compromised cell on port hosted get nothing that was not granted, and is it cleaned up after?

tests/hosted/attack.c plays the cell: one attack a cell. The host side of each is a World: things that must stay as they are."""
import glob
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import common
from signals import descendants, wait_gone

PORTS = ("hosted",)

CRASHED = 124  # the launcher's status for a cell that ended badly
SECRET = "CANARY: this was not granted\n"
NOBODY = 65534

# What host/hosted/filter.c admits from kernel text, by number on x86-64, and what more where the processor or the host has no FSGSBASE.
ADMITTED = {
    3: "close", 5: "fstat", 8: "lseek", 9: "mmap", 10: "mprotect", 11: "munmap", 14: "rt_sigprocmask", 15: "rt_sigreturn",
    17: "pread64", 18: "pwrite64",
    24: "sched_yield", 25: "mremap", 26: "msync", 27: "mincore", 28: "madvise", 46: "sendmsg", 47: "recvmsg", 56: "clone",
    60: "exit", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 98: "getrusage", 131: "sigaltstack",
    202: "futex", 203: "sched_setaffinity", 228: "clock_gettime", 231: "exit_group", 234: "tgkill",
    271: "ppoll", 285: "fallocate", 324: "membarrier", 326: "copy_file_range", 327: "preadv2", 328: "pwritev2"}
WITHOUT_FSGSBASE = {158: "arch_prctl"}
RESTART = 219  # refused, but the kernel takes it as the end of a wait: the host asks for it after a stop
UPROBES = (335, 336)  # pass all filters on newer hosts, and do nothing for who is not at a probe
LAST_CALL = 470  # the host may know a few more; numbers it does not know are refused like others

CLONE_FILES, CLONE_NEWUSER, CLONE_PTRACE = 0x400, 0x10000000, 0x2000


BUILD_ONCE = threading.Lock()


def build_attacker():
    with BUILD_ONCE:
        common.ninja("hosted-attack")


class World:
    """Files, sockets and a process of the host that no cell may touch."""

    def __init__(self, t):
        self.t = t
        build_attacker()
        self.attack_directory = os.path.join(common.BUILD, "tests", "hosted")
        self.place = os.path.join(t.scratch, "world")
        for name in ("outside", "readonly/inner", "writable/inner"):
            os.makedirs(os.path.join(self.place, name))
            os.chmod(os.path.join(self.place, name), 0o777)
        os.chmod(os.path.join(self.place, "readonly"), 0o777)
        os.chmod(os.path.join(self.place, "writable"), 0o777)
        self.secret = os.path.join(self.place, "outside", "secret")
        for path, text in ((self.secret, SECRET), (self.at("readonly/file"), "stays\n" * 100),
                           (self.at("readonly/inner/file"), "stays too\n"), (self.at("writable/file"), "may change\n")):
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, 0o666)
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(self.at("outside/socket"))
        os.chmod(self.at("outside/socket"), 0o777)
        self.tcp = socket.socket()
        self.tcp.bind(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        for s in (self.unix, self.tcp):
            s.listen(5)
            s.setblocking(False)
        self.bystander = subprocess.Popen(["/bin/sleep", "1000"], preexec_fn=self.become_bystander)
        self.before = self.look()

    def at(self, name):
        return os.path.join(self.place, name)

    @staticmethod
    def become_bystander():
        """Of the same user as the cell's processes, and all signals stay pending for us to see."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    def look(self):
        found = {}
        for name in ("outside", "readonly"):
            for root, directories, files in os.walk(self.at(name)):
                for entry in [".", *directories, *files]:
                    path = os.path.join(root, entry)
                    st = os.lstat(path)
                    content = None
                    if os.path.isfile(path) and not os.path.islink(path):
                        with open(path, "rb") as f:
                            content = f.read()
                    found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_nlink, content)
        with open(f"/proc/{self.bystander.pid}/status") as f:
            status = f.read()
        found["bystander"] = re.findall(r"^(?:State:\t[^RSD]|TracerPid|SigPnd|ShdPnd|Uid|NoNewPrivs|Cpus_allowed):?.*$", status, re.M)
        found["limits"] = open(f"/proc/{self.bystander.pid}/limits").read()
        found["priority"] = os.getpriority(os.PRIO_PROCESS, self.bystander.pid)
        found["host name"] = socket.gethostname()
        return found

    def options(self, *more):
        # An attacker opens what a protection key closes: only who makes mistakes would notice.
        return ["--no-pkeys", "--memory", "256M", "--mount", f"{self.attack_directory}:/attack", "--mount",
                f"{self.at('readonly')}:/readonly:ro", "--mount", f"{self.at('writable')}:/writable:rw", *more]

    def check(self, *what):
        after = self.look()
        for key in self.before.keys() | after.keys():
            self.t.equal(after.get(key), self.before.get(key), f"{key} has changed", *what)
        for s in (self.unix, self.tcp):
            try:
                s.accept()
                self.t.check(False, "somebody connected to the host", *what)
            except BlockingIOError:
                pass
        left = processes_of(self.place)
        self.t.check(not left, "processes are left:", left, *what)

    def close(self):
        self.bystander.kill()
        self.bystander.wait()
        self.unix.close()
        self.tcp.close()


def processes_of(place):
    """Processes whose command line names the place: a launcher's are copies of it and show its own."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                text = f.read()
            with open(os.path.dirname(path) + "/stat") as f:
                state = f.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if place.encode() in text and state != "Z":
            found.append((int(path.split("/")[2]), text.replace(b"\0", b" ")[:200]))
    return found


def in_world(function):
    def test(t):
        world = World(t)
        try:
            function(t, world)
        finally:
            world.close()
    test.__name__ = function.__name__
    return test


def attack(t, world, *arguments, options=()):
    """An attack that ends by itself."""
    done = t.cell(["/attack/attack", *(str(a) for a in arguments)], *world.options(*options), timeout=60, leaks=False)
    t.check(b"GOT" not in done.out + done.err, arguments, done.text()[-2000:])
    t.check(SECRET.encode() not in done.out + done.err, arguments, done.text()[-2000:])
    return done


def last_line(done):
    lines = done.err.decode("utf-8", "replace").splitlines()
    return lines[-1] if lines else ""


def refused(t, world, *arguments):
    """The host's filter must end the cell before the call does anything."""
    done = attack(t, world, *arguments)
    t.equal(done.status, CRASHED, arguments, done.text()[-1500:])
    t.check(b"RETURNED" not in done.out + done.err, arguments, done.text()[-1500:])
    t.check("cloister: the cell's kernel panicked" in last_line(done) and "refused by the filter" in last_line(done), arguments,
            done.text()[-1500:])


def hostile(t, world, *arguments, patience=4):
    """An attack after which the cell may hang: it ends by itself, or as soon as its user has had enough."""
    process = t.start(["/attack/attack", *(str(a) for a in arguments)], *world.options())
    below = set()
    end = time.monotonic() + patience * t.arguments.slow
    while process.poll() is None and time.monotonic() < end:
        below |= descendants(process.pid)
        time.sleep(0.02)
    for _ in range(2):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
    done = t.finish(process, 10)
    t.check(b"GOT" not in done.out + done.err, arguments, done.text()[-2000:])
    t.check(done.status >= 0, arguments, done.status, done.text()[-2000:])
    if done.status not in (0, 128 + signal.SIGTERM):
        # What the cell itself wrote to the launcher's log may stand on the same line.
        t.check(b"cloister: " in done.err or done.status < 120, arguments, done.status, done.text()[-2000:])
    wait_gone(t, below, 5)
    return done


# ---- calls of the host ----

@in_world
def test_every_call_that_is_not_admitted(t, world):
    with open("/proc/cpuinfo") as f:
        admitted = ADMITTED if " fsgsbase" in f.read() else ADMITTED | WITHOUT_FSGSBASE
    for number in range(LAST_CALL + 1):
        if number not in admitted and number not in UPROBES and number != RESTART:
            refused(t, world, "raw", number)
    t.check(b"RETURNED -4" in attack(t, world, "raw", RESTART, options=["--verbose"]).err, "restart_syscall is admitted")
    for number in UPROBES:
        attack(t, world, "raw", number)
    world.check()


@in_world
def test_no_other_instruction_set(t, world):
    x32 = 0x40000000
    for number in (x32 + 0, x32 + 1, x32 + 2, x32 + 59, x32 + 520, 0xffffffff, 1 << 31):
        refused(t, world, "raw", number)
    done = attack(t, world, "int80", world.secret)
    t.check(b"RESULT -38" in done.out or done.status != 0, done.text()[-500:])
    done = attack(t, world, "int80", "kernel", world.secret)
    t.check(done.status == CRASHED or done.out == b"NONE\n", done.status, done.text()[-1000:])
    world.check()


@in_world
def test_calls_that_would_reach_the_host(t, world):
    secret, pid = world.secret, world.bystander.pid
    at_cwd = -100
    for arguments in [
            (2, f"s:{secret}", 2), (257, at_cwd, f"s:{secret}", 2), (437, at_cwd, f"s:{secret}", "b:24", 24), (85, f"s:{secret}x", 438),
            (87, f"s:{secret}"), (263, at_cwd, f"s:{secret}"), (82, f"s:{secret}", f"s:{secret}2"),
            (86, f"s:{secret}", f"s:{secret}2"), (88, f"s:{secret}", f"s:{secret}2"), (76, f"s:{secret}", 0), (90, f"s:{secret}", 0),
            (92, f"s:{secret}", 0, 0), (83, f"s:{secret}d", 511), (84, f"s:{world.at('outside')}"), (133, f"s:{secret}n", 438, 0),
            (188, f"s:{secret}", "s:user.x", "s:x", 1), (132, f"s:{secret}", "b:16"), (161, f"s:{world.at('outside')}"),
            (80, f"s:{world.at('outside')}"), (303, at_cwd, f"s:{secret}", "b:64", "b:64"), (304, at_cwd, "b:64", 0),
            (41, 1, 1, 0), (41, 2, 1, 0), (41, 16, 3, 0), (53, 1, 1, 0, "b:8"),
            (42, 3, f"un:{world.at('outside/socket')}", 110), (42, 3, f"in:{world.port}", 16), (49, 3, "in:0", 16), (50, 3, 5),
            (43, 3), (44, 3, "s:x", 1), (54, 3, 1, 2), (59, "s:/bin/sh", "v:sh", 0), (322, at_cwd, "s:/bin/sh", "v:sh", 0),
            (57,), (58,), (435, "b:88", 88),
            (62, pid, 9), (62, -1, 9), (62, 0, 9), (62, 1, 9), (129, pid, 9, "b:128"), (200, pid, 9), (297, pid, pid, 9, "b:128"),
            (424, 0, 9), (434, pid), (438, 0, 0), (101, 16, pid), (101, 0x4206, pid), (310, pid, "b:16", 1, "b:16", 1),
            (311, pid, "b:16", 1, "b:16", 1), (440, 0, "b:16", 1, 21), (312, pid, pid, 0), (302, pid, 7, "b:16", 0),
            (160, 7, "b:16"), (141, 0, pid, 19), (144, pid, 1, "b:8"), (314, pid, "b:48", 0),
            (165, "s:none", "s:/tmp", "s:tmpfs"), (166, "s:/tmp", 2), (272, CLONE_NEWUSER), (308, 3, 0), (155, "s:.", "s:."),
            (430, "s:tmpfs", 0), (428, at_cwd, "s:/", 1), (161, "s:/"), (442, at_cwd, "s:/", 0, "b:32", 32),
            (157, 38, 0), (157, 15, "s:name"), (157, 22, 2, 0), (317, 0, 0, 0), (317, 1, 0, "b:16"), (105, 0), (106, 0), (117, 0, 0, 0),
            (116, 0, 0), (126, "b:8", "b:24"), (135, 0), (321, 5, "b:128", 128), (298, "b:128", 0, -1, -1, 0), (425, 32, "b:120"),
            (426, 0, 1, 0, 0), (248, "s:user", "s:x", "s:x", 1, -3), (250, 0), (323, 0), (175, "b:16", 16, "s:"), (313, 0, "s:", 0),
            (246, 0, 0, 0), (169, 0xfee1dead, 672274793, 0x1234567), (170, "s:hacked", 6), (171, "s:hacked", 6), (164, "b:16", 0),
            (227, 0, "b:16"), (159, "b:208"), (163, "s:/tmp/x"), (167, "s:/dev/vda", 0), (172, 3), (173, 0, 1024, 1), (103, 3),
            (16, 0, 0x5412, "s:x"), (16, 1, 0x5413, "b:8"), (72, 1, 4, 2048), (72, 1, 1031, 4096), (32, 0), (33, 1, 20), (292, 1, 20, 0),
            (22, "b:8"), (293, "b:8", 0), (319, "s:x", 0), (290, 0, 0), (284, 0), (213, 1), (291, 0), (253,), (294, 0), (300, 0, 0),
            (29, 0x7777, 4096, 0o1777), (30, 0, 0, 0), (68, 0x7777, 0o1777), (64, 0x7777, 1, 0o1777), (240, "s:/x", 66, 438, 0),
            (13, 31, "b:152", "b:152", 8), (13, 9, "b:152", 0, 8), (222, 1, 0, "b:8"), (283, 1, 0), (37, 1), (38, 0, "b:32", 0),
            (0, 0, "b:10", 10), (1, 1, "s:x", 1), (19, 3, "b:16", 1), (20, 1, "b:16", 1),
            (40, 1, 3, 0, 10), (275, 0, 0, 1, 0, 10, 0), (276, 0, 1, 10, 0), (278, 1, "b:16", 1, 0), (12, 0), (149, 0, 4096),
            (329, 0, 4096, 1, 1), (330, 0, 0), (334, "b:32", 32, 0, 0x53053053), (436, 3, 100, 0), (112,), (109, 0, 0), (204, 0, 8, "b:8"),
            (273, "b:24", 24), (274, pid, "b:8", "b:8"), (318, "b:16", 16, 0), (35, "b:16", 0), (230, 1, 0, "b:16", 0), (309, "b:8", 0, 0),
            (7, "b:8", 0, 0), (23, 0, 0, 0, 0, 0), (61, -1, 0, 0, 0), (247, 0, 0, 0, 4, 0), (39,), (102,), (186,), (96, "b:16", 0), (201, 0)]:
        refused(t, world, "raw", *arguments)
    world.check()


@in_world
def test_admitted_calls_keep_to_their_arguments(t, world):
    pid, top = world.bystander.pid, 0x7fffffffe000
    for arguments in [
            (9, top, 4096, 7, 0x32, -1, 0), (9, 0x7f0000000000, 0x10000000000, 7, 0x32, -1, 0), (10, top, 4096, 7), (11, top, 4096),
            (11, 0, 0x7fffffffffff), (11, 0, -1), (28, top, 4096, 4), (25, top, 4096, 4096, 1, 0), (25, 0x10000, 4096, 4096, 3, top),
            (56, CLONE_NEWUSER | 17), (56, CLONE_NEWUSER | 0x20000 | 17), (56, CLONE_PTRACE | 17), (56, 0x1000 | 17, 0, "b:8"),
            (56, CLONE_FILES | 9), (56, CLONE_FILES | 23), (56, 0x80000000 | 17), (56, (1 << 33) | 17), (56, 0x800000 | 17),
            (202, "b:8", 6, 0), (202, "b:8", 13, 0), (202, "b:8", 3, 1), (202, "b:8", 5, 1, 1, "b:8", 0), (202, "b:8", 11, 0),
            (203, pid, 128, "b:128"), (203, 1, 128, "b:128"), (234, pid, pid, 9), (234, pid, pid, 19), (234, pid, pid, 1), (234, 1, 1, 9),
            (234, pid, pid, 0), (158, 0x1004, "b:8"), (158, 0x1012, 0), (158, 0x1023, 18), (158, 0x4001, 0), (158, 0x5001, 1)]:
        refused(t, world, "raw", *arguments)
    # Signal 23 is the kernel's own, and the cell's processes are all there is to send it to.
    attack(t, world, "raw", 234, pid, pid, 23)
    world.check()


# ---- memory ----

@in_world
def test_kernel_text_stays_what_it_is(t, world):
    for how in ("protect", "unmap", "replace", "move", "away", "forget", "around", "wrap"):
        refused(t, world, "memory", "text", how)
    world.check()


@in_world
def test_kernel_memory_has_no_rights_elsewhere(t, world):
    done = attack(t, world, "memory", "copy", world.secret)
    t.check(b"unlink says" in done.out or done.status == CRASHED, done.text()[-1500:])
    t.check(b"unlink says 0" not in done.out, done.out)
    world.check()


@in_world
def test_scribbles_over_shared_memory(t, world):
    for how in ("zero", "ones", "random", "bits", "pointers", "stacks", "low"):
        for seed in (1, 2, 3) if how in ("random", "bits", "pointers") else (1,):
            hostile(t, world, "memory", "scribble", how, seed)
            world.check(how, seed)


def stray_accesses(t, how, *options):
    build_attacker()
    directory = os.path.join(common.BUILD, "tests", "hosted")
    done = t.cell(["/attack/attack", "stray", how], "--mount", f"{directory}:/attack", *options, status=0)
    t.check(re.fullmatch(rb"[1-9]\d* checks, 0 wrong\n", done.out), done.text()[-1500:])


def test_stray_accesses_are_the_programs_own_problem(t):
    with open("/proc/cpuinfo") as f:
        if " ospke" not in f.read():
            t.skip("the processor has no protection keys, or the host does not use them")
    stray_accesses(t, "closed")


def test_without_protection_keys_stray_accesses_get_through(t):
    stray_accesses(t, "open", "--no-pkeys")


# ---- descriptors and processes ----

@in_world
def test_garbage_into_every_descriptor(t, world):
    for seed in (1, 2, 3):
        hostile(t, world, "garbage", seed)
        world.check(seed)


@in_world
def test_every_descriptor_closed(t, world):
    hostile(t, world, "close")
    world.check()


@in_world
def test_processes_the_kernel_does_not_know(t, world):
    done = hostile(t, world, "bomb", 500)
    t.check(b"BOMB " in done.out + done.err, done.text()[-500:])
    world.check()


def cell_processes(pid):
    """Those below the launcher that a filter confines and that hold the cell's memory."""
    found = []
    for below in descendants(pid):
        try:
            with open(f"/proc/{below}/maps") as f:
                if "memfd:" in f.read():
                    found.append(below)
        except OSError:
            pass
    return found


@in_world
def test_what_the_host_sees_of_a_cell(t, world):
    process = t.start(["/bin/sh", "-c", "sleep 1000 & cat /readonly/file >/dev/null; echo ready; wait"], *world.options())
    try:
        t.wait_for_line(process, b"ready")
        # The kernel, sh and sleep; the host may still be ending cat, which sh has waited for.
        give_up = time.monotonic() + 10
        while len(pids := cell_processes(process.pid)) != 3 and time.monotonic() < give_up:
            time.sleep(0.05)
        t.equal(len(pids), 3, pids)
        for pid in pids:
            look_at_cell_process(t, world, pid)
        for pid in descendants(process.pid) - set(pids):
            with open(f"/proc/{pid}/status") as f:
                status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
            t.equal(status["NoNewPrivs"], "1", pid)
    finally:
        process.terminate()
        t.finish(process)
    world.check()


def look_at_cell_process(t, world, pid):
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
    t.equal(status["NoNewPrivs"], "1")
    t.equal(status["Seccomp"], "2")
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        t.equal(int(status[f"Cap{kind}"], 16), 0, kind)
    if os.geteuid() == 0:
        t.equal(set(status["Uid"].split()), {str(NOBODY)})
    for fd in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
        if target.startswith(("pipe:", "socket:", "anon_inode:[eventfd]", "/memfd:")):
            continue
        # Files beneath a grant, as the broker opened them (paths are those of its own root).
        with open(f"/proc/{pid}/fdinfo/{fd}") as f:
            flags = int(re.search(r"flags:\s+(\d+)", f.read()).group(1), 8)
        t.check(os.path.isabs(target) and "/outside/" not in target, f"descriptor {fd} is {target}")
        t.check("/writable/" in target or flags & os.O_ACCMODE == os.O_RDONLY, f"descriptor {fd}, {target}, is writable")
    if t.environment.get("NO_NAMESPACES"):
        return
    for kind in ("user", "pid", "mnt", "net", "ipc", "uts"):
        try:
            own, theirs = (os.readlink(f"/proc/{p}/ns/{kind}") for p in ("self", pid))
        except PermissionError:
            continue
        t.check(own != theirs or kind == "user" and os.geteuid() == 0, f"the cell is in the host's {kind} namespace")


# ---- the broker ----

READONLY, WRITABLE = 2, 3  # by the order of the mounts: root, /attack, then these


def forge(t, world, what):
    done = attack(t, world, "broker", what, READONLY, WRITABLE, world.secret)
    t.check(re.search(rb"asked [1-9]\d*, answered", done.out + done.err), what, done.text()[-1500:])
    t.check(b"numbers are wrong" not in done.out, what, done.out)
    t.check(done.status in (0, CRASHED), done.status, done.text()[-1500:])
    world.check(what)
    return done


@in_world
def test_broker_keeps_names_beneath_the_root(t, world):
    t.equal(forge(t, world, "escape").status, 0)


@in_world
def test_broker_hides_the_hosts_system_trees(t, world):
    t.equal(forge(t, world, "system").status, 0)


@in_world
def test_broker_follows_no_links(t, world):
    t.equal(forge(t, world, "links").status, 0)


@in_world
def test_broker_opens_no_devices(t, world):
    t.equal(forge(t, world, "devices").status, 0)


@in_world
def test_broker_keeps_read_only_trees(t, world):
    t.equal(forge(t, world, "read-only").status, 0)


@in_world
def test_broker_bears_nonsense(t, world):
    forge(t, world, "nonsense")
    forge(t, world, "frames")


@in_world
def test_broker_bears_floods(t, world):
    forge(t, world, "flood")


@in_world
def test_broker_keeps_no_descriptors(t, world):
    forge(t, world, "descriptors")


# ---- the network ----

GRANTED = "127.0.0.2"  # the world's own sockets are on 127.0.0.1


def misuse(t, world, *arguments, options=("--connect", "tcp:127.0.0.2:9")):
    """Forged messages to the network's server. The world has a UDP socket too that nobody may reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", world.port))
        udp.setblocking(False)
        done = attack(t, world, "network", *arguments, options=options)
        ended = b"the cell's network process ended with exit status"  # it would not listen to more
        t.check(re.search(rb"sent [1-9]", done.out) or ended in done.err, arguments, done.text()[-1500:])
        t.check(done.status in (0, CRASHED), arguments, done.status, done.text()[-1500:])
        try:
            udp.recv(100)
            t.check(False, "a datagram reached the host", arguments)
        except BlockingIOError:
            pass
    world.check(*arguments)
    return done


@in_world
def test_network_keeps_to_the_rules(t, world):
    for options in ((), ("--connect", "tcp:*:*", "--connect", "udp:*:*"), ("--publish", f"{GRANTED}:{world.port}:9")):
        done = misuse(t, world, "rules", world.port, options=("--connect", "udp:127.0.0.2:9", *options))
        t.equal(done.status, 0, done.text()[-1500:])
        with socket.socket() as s:
            t.check(s.connect_ex((GRANTED, world.port)) != 0, "a port listens that was not to")


def misuse_connection(t, world, when):
    ended = threading.Event()

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            data = b""
            while not data.endswith(b"reset"):
                data += connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ended.set()

    with socket.create_server((GRANTED, 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        done = misuse(t, world, when, port, world.port, options=("--connect", f"tcp:{GRANTED}:{port}"))
        t.equal(done.status, 0, done.text()[-1500:])
        t.check(ended.wait(5), "there was no connection")


@in_world
def test_network_connections_go_nowhere_else(t, world):
    """The host's descriptor of a connection, while it lasts and after its reset: not even TCP Fast Open connects it anew."""
    misuse_connection(t, world, "open")
    misuse_connection(t, world, "over")


@in_world
def test_network_bears_nonsense(t, world):
    for seed in range(1, 5):
        misuse(t, world, "nonsense", seed)


@in_world
def test_network_bears_floods(t, world):
    misuse(t, world, "flood", options=("--connect", "tcp:127.0.0.2:9", "--connect", "udp:127.0.0.2:9"))

# SPDX-License-Identifier: Apache-2.0
"""Devices that keep no rule (tests/hostile): the kernel lives, what does not need them goes on, and who waits for them can be killed."""
import os
import shutil
import tempfile

from harness import common

PORTS = ("x86",)
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
HOSTILE = os.path.join(common.TOP, "tests", "hostile")
SEEDS = 25 if os.environ.get("CLOISTER_SOAK") else 3

FILES = """
def one(r):
    name = '/hostile/' + '/'.join('name%d' % r.randrange(20) for _ in range(r.choice((1, 1, 1, 2, 3))))
    what = r.randrange(12)
    if what == 0: [x.stat() for x in os.scandir(r.choice(('/hostile', name)))]
    elif what == 1: os.stat(name)
    elif what == 2: os.mkdir(name)
    elif what == 3: os.rename(name, '/hostile/name%d' % r.randrange(20))
    elif what == 4: os.unlink(name)
    elif what == 5: os.statvfs(name)
    elif what == 6: os.readlink(name)
    elif what == 7: os.truncate(name, r.randrange(1 << 20))
    else:
        with open(name, r.choice(('rb', 'r+b', 'wb')), buffering=0) as f:
            if what == 8: f.read(1 << r.randrange(20))
            elif what == 9: f.write(bytes(1 << r.randrange(18)))
            elif what == 10: f.write(bytes(5000)); os.fsync(f.fileno())
            else: sum(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[::4096])
"""

NETWORK = """
def one(r):
    kind = r.choice((socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM))
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(r.choice((0.1, 0.5, None)))
        if r.randrange(6) == 0 and kind == socket.SOCK_STREAM:
            s.bind(('0.0.0.0', 80)); s.listen(); s.settimeout(0.3); s.accept()
        s.connect(('10.0.0.1', r.randrange(1, 9)))
        for _ in range(r.randrange(5)):
            s.send(bytes(r.choice((1, 100, 9000, 30000))))
            if r.randrange(2): s.recv(1 << r.randrange(16))
        if r.randrange(2): s.shutdown(r.randrange(3))
"""

# Three children do what they can with the device, while the parent goes about its business. Then it kills them.
PROGRAM = """
import errno, mmap, os, random, signal, socket, subprocess, sys, time
exec(sys.argv[2])
counts = mmap.mmap(-1, 4096)

def child(seed):
    r = random.Random(seed)
    while True:
        try: one(r); counts[0] = 1
        except OSError as e: counts[1] |= e.errno == errno.EIO
        except ValueError: pass

children = []
for i in range(3):
    pid = os.fork()
    if not pid: child(int(sys.argv[1]) + i)
    children.append(pid)
end = time.monotonic() + 2
work = 0
while work < 3 or time.monotonic() < end:
    assert subprocess.run(['/bin/sh', '-c', 'seq 9 | sort -n | tail -1'], stdout=subprocess.PIPE).stdout == b'9\\n'
    work += 1
print('worked', *counts[:2], flush=True)
for pid in children: os.kill(pid, signal.SIGKILL)
for pid in children: os.waitpid(pid, 0)
print('well')
"""


def mounted_over(t, what, place, argv):
    """Runs a command where a place of the host is another one."""
    script = f"mount --bind {what} {place} || exit 99; exec \"$@\""
    done = common.command(["unshare", "--mount", "/bin/sh", "-c", script, "sh", *argv], 120 * t.arguments.slow, None)
    if done.status == 99 or (done.status == 1 and b"unshare" in done.err):
        t.skip("cannot replace host programs here")
    return done


def with_file_server(t, argv):
    """Runs a cell whose virtiofsd is ours; the real one then stands beside it."""
    place = tempfile.mkdtemp(dir=t.scratch)
    shutil.copy(os.path.join(HOSTILE, "vhost.py"), place)
    shutil.copy(os.path.join(HOSTILE, "virtiofsd.py"), os.path.join(place, "virtiofsd"))
    shutil.copy(VIRTIOFSD, os.path.join(place, "real"))
    return mounted_over(t, place, os.path.dirname(VIRTIOFSD), argv)


def with_network(t, seed, habit, argv):
    script = os.path.join(t.scratch, f"network{seed}")
    with open(script, "w") as f:
        f.write(f"#!/bin/sh\nexec /usr/bin/python3 {HOSTILE}/vsock.py {seed} {habit} \"$@\"\n")
    os.chmod(script, 0o755)
    build = t.arguments.kernel_build or common.BUILD
    return mounted_over(t, script, os.path.join(build, "host", "cloister-vsock"), argv)


def check_end(t, done, seed):
    """What the children saw of the device: some success, some EIO."""
    worked, _, well = done.out.partition(b"\n")
    t.equal((done.status, well), (0, b"well\n"), f"seed {seed}:", done.text()[-3000:])
    t.check(b"leaked: " not in done.err, f"seed {seed}:", done.text()[-3000:])
    return worked


def file_server(t, habit, given_up=b"", seeds=SEEDS):
    """What the children saw of the server over all seeds."""
    if os.geteuid() != 0:
        t.skip("needs root: it mounts over a program")
    seen, log = set(), b""
    for seed in range(seeds):
        tree = tempfile.mkdtemp(dir=t.scratch)
        with open(os.path.join(tree, ".hostile"), "w") as f:
            f.write(f"{seed} {habit}")
        argv = t.argv(["/usr/bin/python3", "-c", PROGRAM, str(seed), FILES], "--mount", f"{tree}:/hostile:rw", "--cpus", "2", "--verbose")
        done = with_file_server(t, argv)
        seen.add(check_end(t, done, seed))
        log += done.err
    t.check(given_up in log and (given_up or b"given up" not in log), log[-3000:])
    return seen


def test_file_server_that_lies(t):
    t.check(b"worked 1 1" in file_server(t, "lie"))


def test_file_server_that_breaks_its_ring(t):
    t.check(b"worked 1 1" in file_server(t, "ring", b"device given up: nonsense in its ring"))


def test_file_server_that_answers_late_and_in_disorder(t):
    t.check(b"worked 1 0" in file_server(t, "late"))


# One seed, for it takes the kernel's patience.
def test_file_server_that_falls_silent(t):
    file_server(t, "silent", b"device given up: it is silent", seeds=1)


def network(t, habit):
    if os.geteuid() != 0:
        t.skip("needs root: it mounts over a program")
    seen = set()
    for seed in range(SEEDS):
        argv = t.argv(["/usr/bin/python3", "-c", PROGRAM, str(seed), NETWORK], "--connect", "tcp:10.0.0.1:1-9",
                      "--connect", "udp:10.0.0.1:1-9", "--cpus", "2", "--verbose")
        seen.add(check_end(t, with_network(t, seed, habit, argv), seed))
    t.check(any(worked.startswith(b"worked 1") for worked in seen), seen)


def test_network_that_lies(t):
    network(t, "lie")


def test_network_that_breaks_its_ring(t):
    network(t, "ring")


def test_network_that_falls_silent(t):
    network(t, "silent")

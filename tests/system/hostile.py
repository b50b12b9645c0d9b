# SPDX-License-Identifier: Apache-2.0
"""Devices that keep no rule (tests/hostile): the kernel lives, what does not need them goes on, and who waits for them can be killed."""
import os
import shutil
import tempfile

from harness import common

PORTS = ("x86",)
HOSTILE = os.path.join(common.TOP, "tests", "hostile")
SEEDS = 25 if os.environ.get("CLOISTER_SOAK") else 3

# Three children do what they can in /hostile, while the parent goes about its business. Then it kills them.
PROGRAM = """
import errno, mmap, os, random, signal, subprocess, sys, time

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


def with_hostile(t, real, hostile, argv, timeout):
    """Runs a command where a program of the host is another one; the program itself is then `real` beside it."""
    place = tempfile.mkdtemp(dir=t.scratch)
    for name in ("vhost.py", hostile):
        shutil.copy(os.path.join(HOSTILE, name), place)
    os.rename(os.path.join(place, hostile), os.path.join(place, os.path.basename(real)))
    shutil.copy(real, os.path.join(place, "real"))
    script = f"mount --bind {place} {os.path.dirname(real)} || exit 99; exec \"$@\""
    done = common.command(["unshare", "--mount", "/bin/sh", "-c", script, "sh", *argv], timeout * t.arguments.slow, None)
    if done.status == 99 or (done.status == 1 and b"unshare" in done.err):
        t.skip("cannot replace host programs here")
    return done


def file_server(t, habit, given_up=b"", seeds=SEEDS):
    """What the children saw of the server: (some success, some EIO), over all seeds; and whether a device was given up."""
    if os.geteuid() != 0:
        t.skip("needs root: it mounts over a program")
    seen, log = set(), b""
    for seed in range(seeds):
        tree = tempfile.mkdtemp(dir=t.scratch)
        with open(os.path.join(tree, ".hostile"), "w") as f:
            f.write(f"{seed} {habit}")
        argv = t.argv(["/usr/bin/python3", "-c", PROGRAM, str(seed)], "--mount", f"{tree}:/hostile:rw", "--cpus", "2", "--verbose")
        done = with_hostile(t, "/usr/lib/qemu/virtiofsd", "virtiofsd.py", argv, 120)
        worked, _, well = done.out.partition(b"\n")
        t.equal((done.status, well), (0, b"well\n"), f"seed {seed}:", done.text()[-3000:])
        t.check(b"leaked: " not in done.err, f"seed {seed}:", done.text()[-3000:])
        seen.add(worked)
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

# SPDX-License-Identifier: Apache-2.0
"""Does a cell have what it was granted, and nothing else?"""
import os
import time

from harness import common


def test_root_is_read_only(t):
    done = t.cell(["/bin/sh", "-c", "touch /etc/x; echo $?; touch /usr/x; echo $?; rm /etc/hostname; echo $?; "
                   "echo x > /etc/hostname; echo $?; chmod 777 /etc/hostname; echo $?; mkdir /x; echo $?"])
    t.equal(done.out, b"1\n1\n1\n2\n1\n1\n", done.err)
    t.equal(done.err.count(b"Read-only file system"), 6, done.err)


def test_private_tmp(t):
    name = f"/tmp/cloister-test-{os.getpid()}"
    with open(name, "w") as f:
        f.write("the host's")
    try:
        done = t.cell(["/bin/sh", "-c", f"ls -A /tmp; echo cell > {name}; cat {name}; stat -c %a /tmp; df /tmp | tail -1"],
                      status=0)
        lines = done.out.decode().splitlines()
        t.equal(lines[0], "cell")
        t.equal(lines[1], "1777")
        with open(name) as f:
            t.equal(f.read(), "the host's")
    finally:
        os.unlink(name)


def test_no_network(t):
    done = t.cell(["/usr/bin/python3", "-c", """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    try:
        s = socket.socket(family, socket.SOCK_STREAM if family != socket.AF_NETLINK else socket.SOCK_RAW)
        s.settimeout(2)
        s.connect(('192.0.2.1', 80) if family == socket.AF_INET else ('2001:db8::1', 80))
        print('connected')
    except (OSError, TypeError) as e:
        print('refused')
"""], status=0)
    t.equal(done.out, b"refused\n" * 3, done.err)


def test_only_granted_variables(t):
    done = t.cell(["/usr/bin/env"], "--env", "GIVEN=1", "--env", "PASSED",
                  env={**os.environ, "PASSED": "on", "SECRET_OF_HOST": "x"}, status=0)
    t.check(b"GIVEN=1\n" in done.out and b"PASSED=on\n" in done.out, done.out)
    t.check(b"SECRET_OF_HOST" not in done.out, done.out)


def test_read_only_mount(t):
    with open(os.path.join(t.scratch, "file"), "w") as f:
        f.write("content\n")
    done = t.cell(["/bin/sh", "-c", "cat /work/file; echo x > /work/file; rm /work/file; touch /work/new; exit 0"], "--mount",
                  f"{t.scratch}:/work:ro", status=0)
    t.equal(done.out, b"content\n")
    t.equal(done.err.count(b"Read-only file system"), 3, done.err)
    t.equal(os.listdir(t.scratch), ["file"])


REMOUNT = r"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    value = libc.syscall(number, *arguments)
    print(os.strerror(ctypes.get_errno()) if value < 0 else "ok")
    return value
libc.unshare(0x20000)
config = libc.syscall(433, -100, b"/work", 0)
call(431, config, 0, b"rw", None, 0)
call(431, config, 7, None, None, 0)
call(165, None, b"/work", None, 32, None)
call(442, -100, b"/work", 0, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)
tree = libc.syscall(428, -100, b"/work", 1)
call(442, tree, b"", 0x1000, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)
call(429, tree, b"", -100, b"/tmp", 4)
for path in "/work/file", "/tmp/file":
    try:
        open(path, "w")
    except OSError as e:
        print(e.strerror)
"""


def test_read_only_mount_stays_so(t):
    """Whatever its root says to the calls that change mounts and file systems."""
    with open(os.path.join(t.scratch, "file"), "w") as f:
        f.write("content\n")
    done = t.cell(["/usr/bin/python3", "-c", REMOUNT], "--user", "root", "--mount", f"{t.scratch}:/work:ro", status=0)
    refused = ["Permission denied"] * 2
    t.equal(done.out.decode().split("\n"), ["ok", *refused, "ok", "ok", "ok"] + ["Read-only file system"] * 2 + [""])
    with open(os.path.join(t.scratch, "file")) as f:
        t.equal(f.read(), "content\n")


def test_writable_mount(t):
    done = t.cell(["/bin/sh", "-c", """cd /work; echo new > file; mkdir -p a/b; ln -s file link; ln file hard; mv a c
chmod 640 file; touch -d @1234567890 c/b; dd if=/dev/urandom of=big bs=64k count=50 2>/dev/null; md5sum < big; sync"""],
                  "--mount", f"{t.scratch}:/work:rw", status=0)
    path = lambda name: os.path.join(t.scratch, name)  # noqa: E731
    with open(path("hard")) as f:
        t.equal(f.read(), "new\n")
    t.equal(os.readlink(path("link")), "file")
    t.equal(os.stat(path("file")).st_mode & 0o7777, 0o640)
    t.equal(os.stat(path("file")).st_nlink, 2)
    t.equal(int(os.stat(path("c/b")).st_mtime), 1234567890)
    import hashlib
    with open(path("big"), "rb") as f:
        t.equal(hashlib.md5(f.read()).hexdigest().encode(), done.out.split()[0])


def test_extended_attributes_of_programs_only(t):
    """Those in user. are the file's on both sides; the rest means something to the host, and a cell neither sees nor sets it."""
    name = os.path.join(t.scratch, "file")
    with open(name, "w"):
        pass
    try:
        os.setxattr(name, "user.host", b"1")
    except OSError:
        t.skip("this file system has no extended attributes")
    if os.geteuid() == 0:
        os.setxattr(name, "trusted.host", b"1")
    done = t.cell(["/usr/bin/python3", "-c", """
import os
def told(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return e.strerror
f = "/work/file"
print(os.listxattr(f), os.getxattr(f, "user.host"), told(os.getxattr, f, "trusted.host"))
print(told(os.setxattr, f, "trusted.cell", b"1"), told(os.setxattr, f, "security.capability", b"1"), told(os.setxattr, f, "user.cell", b"2"))
os.removexattr(f, "user.host")
print(os.listxattr(f), open(f, "w").write("x"))
"""], "--mount", f"{t.scratch}:/work:rw", status=0)
    t.equal(done.out.decode(), "['user.host'] b'1' Operation not supported\n"
            "Operation not supported Operation not supported None\n['user.cell'] 1\n", done.err)
    names = [n for n in os.listxattr(name) if n != "trusted.host"]
    t.equal(names, ["user.cell"])
    t.equal(os.getxattr(name, "user.cell"), b"2")


def test_several_mounts(t):
    for name in ("one", "two"):
        os.mkdir(os.path.join(t.scratch, name))
        with open(os.path.join(t.scratch, name, "name"), "w") as f:
            f.write(name + "\n")
    done = t.cell(["/bin/sh", "-c", "cat /one/name /deep/er/two/name; echo x > /deep/er/two/y; mount | grep -cE 'type (virtiofs|broker) '"],
                  "--mount", f"{t.scratch}/one:/one", "--mount", f"{t.scratch}/two:/deep/er/two:rw", status=0)
    t.equal(done.out.splitlines()[:2], [b"one", b"two"])
    t.check(os.path.exists(os.path.join(t.scratch, "two", "y")))


def test_relative_mount(t):
    os.mkdir(os.path.join(t.scratch, "work"))
    t.cell(["/bin/sh", "-c", "echo here > /work/f"], "--mount", "./work:/work:rw", cwd=t.scratch, status=0)
    t.check(os.path.exists(os.path.join(t.scratch, "work", "f")))


def test_host_changes_are_seen(t):
    path = os.path.join(t.scratch, "file")
    with open(path, "w") as f:
        f.write("old\n")
    process = t.start(["/bin/sh", "-c", "cat /work/file; read x; sleep 1.5; cat /work/file; ls /work"], "--mount",
                      f"{t.scratch}:/work", stdin=-1)
    try:
        t.wait_for_line(process, b"old")
        with open(path, "w") as f:
            f.write("newer\n")
        with open(path + "2", "w") as f:
            f.write("x")
        time.sleep(1.2)
        process.stdin.write(b"\n")
        process.stdin.flush()
        t.wait_for_line(process, b"newer")
        t.wait_for_line(process, b"file2")
        process.stdin.close()
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def test_no_way_out_of_a_mount(t):
    os.mkdir(os.path.join(t.scratch, "inner"))
    with open(os.path.join(t.scratch, "secret"), "w") as f:
        f.write("secret")
    os.symlink("../secret", os.path.join(t.scratch, "inner", "link"))
    done = t.cell(["/bin/sh", "-c", "cat /work/link; cat /work/../secret; ls /work/.. | grep -c secret; exit 0"], "--mount",
                  f"{t.scratch}/inner:/work", status=0)
    t.check(b"secret\n" not in done.out and done.out == b"0\n", done.out)


def test_workdir(t):
    t.equal(t.cell(["/bin/pwd"], "--workdir", "/usr/share", status=0).out, b"/usr/share\n")
    t.equal(t.cell(["/bin/pwd"], cwd="/usr/lib", status=0).out, b"/usr/lib\n")


def test_host_devices_and_processes_are_not_there(t):
    done = t.cell(["/bin/sh", "-c", "ls /dev | grep -E '^(vd|sd|kvm|mem|nvme|loop)' | wc -l; ls -d /proc/[0-9]* | wc -l; "
                   "cat /proc/1/comm; hostname"], status=0)
    lines = done.out.decode().splitlines()
    t.equal(lines[0], "0")
    t.check(int(lines[1]) <= 5, lines)
    t.equal(lines[3], "cloister")


def test_hostname(t):
    t.equal(t.cell(["/bin/hostname"], "--hostname", "other", status=0).out, b"other\n")


def test_user(t):
    done = t.cell(["/bin/sh", "-c", "id -u; id -g; cat /etc/shadow; touch /tmp/x && echo tmp"], "--user", "1234:5678", status=0)
    t.equal(done.out.splitlines(), [b"1234", b"5678", b"tmp"], done.err)


def test_manifest(t):
    path = os.path.join(t.scratch, "manifest.toml")
    os.mkdir(os.path.join(t.scratch, "data"))
    with open(path, "w") as f:
        f.write(f"""[loader]
env.COLOUR = "blue"
[libos]
entrypoint = "/bin/sh"
[[fs.mounts]]
type = "chroot"
path = "/"
uri = "file:/"
[[fs.mounts]]
type = "tmpfs"
path = "/tmp"
[[fs.mounts]]
type = "chroot"
path = "/data"
uri = "file:{t.scratch}/data"
""")
    done = t.cell(["/bin/sh", "-c", "echo $COLOUR; ls -d /data"], "-m", path)
    if done.status == 125:
        t.check(False, "the manifest's keys are not known:", done.err)
    t.equal(done.out, b"blue\n/data\n", done.err)


# A root that is no mount point, as chroot(1) makes it of a directory.
CHROOT = """mount --make-rprivate / && mount -t tmpfs none /mnt && mkdir /mnt/root || exit 99
for entry in /*; do
    if [ -h $entry ]; then cp -P $entry /mnt/root/
    elif [ -d $entry ]; then mkdir /mnt/root$entry && mount --rbind $entry /mnt/root$entry || exit 99
    fi
done
exec chroot /mnt/root "$@"
"""


def test_cell_in_a_plain_chroot(t):
    """It gets the chroot's tree, read-only, a granted directory, and an end that leaves nothing."""
    if os.geteuid() != 0:
        t.skip("needs root: chroot")
    work = os.path.join(t.scratch, "work")
    os.mkdir(work)
    argv = t.run_argv("--mount", f"{work}:/work:rw", "--", "/bin/sh", "-c", "cat > /work/f; touch /usr/x || echo read-only; exit 7")
    done = common.command(["unshare", "--mount", "/bin/sh", "-c", CHROOT, "sh", *argv], 60 * t.arguments.slow, b"written")
    if done.status == 99 or (done.status == 1 and b"unshare" in done.err):
        t.skip("cannot make mounts here")
    t.equal((done.status, done.out), (7, b"read-only\n"), done.text())
    with open(os.path.join(work, "f")) as f:
        t.equal(f.read(), "written")

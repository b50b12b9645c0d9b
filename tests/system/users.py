# SPDX-License-Identifier: Apache-2.0
"""Does an ordinary user get the same, without any privilege?"""
import os
import shutil
import socket
import subprocess
import threading

from harness import common

USER = 65534


def as_user(t, *arguments, stdin=b"", timeout=90, user=USER, limits=()):
    """The launcher, installed where anyone may read it, run by an unprivileged user."""
    argv = t.run_argv(*arguments[1:])
    if os.geteuid() != 0:
        return common.command(argv, timeout, stdin, cwd="/")
    build = t.arguments.kernel_build or common.BUILD
    place = os.path.join(t.scratch, "installed")
    if not os.path.exists(place):
        images = (("host/cloister-vsock", "port/x86/cloister.img", "port/x86/rom.bin") if t.port == "x86"
                  else ("port/hosted/cloister-hosted.img",))
        for name in ("host/cloister", *images):
            os.makedirs(os.path.join(place, os.path.dirname(name)), exist_ok=True)
            shutil.copy(os.path.join(build, name), os.path.join(place, name))
    prefix = [*limits, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
    if subprocess.run([*prefix, "unshare", "--user", "true"], stderr=subprocess.DEVNULL).returncode:
        t.skip("this host gives ordinary users no user namespaces")
    return common.command([*prefix, os.path.join(place, "host/cloister"), *argv[1:]], timeout * t.arguments.slow, stdin,
                          cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": "/tmp"})


def test_ordinary_user_runs_a_cell(t):
    done = as_user(t, "run", "--", "/bin/sh", "-c", "id -u; echo hello; exit 3")
    t.equal(done.status, 3, done.text())
    t.equal(done.out.splitlines(), [str(USER if os.geteuid() == 0 else os.getuid()).encode(), b"hello"])


def test_ordinary_user_writes_own_mount(t):
    directory = os.path.join(t.scratch, "own")
    os.mkdir(directory)
    if os.geteuid() == 0:
        os.chown(directory, USER, USER)
    done = as_user(t, "run", "--mount", f"{directory}:/work:rw", "--", "/bin/sh", "-c", "cat > /work/f; stat -c %u /work/f",
                   stdin=b"written")
    t.equal(done.status, 0, done.text())
    with open(os.path.join(directory, "f")) as f:
        t.equal(f.read(), "written")
    t.equal(os.stat(os.path.join(directory, "f")).st_uid, USER if os.geteuid() == 0 else os.getuid())


def test_ordinary_user_cannot_reach_more(t):
    path = os.path.join(t.scratch, "root-only")
    with open(path, "w") as f:
        f.write("secret")
    os.chmod(path, 0o600)
    if os.geteuid() != 0:
        t.skip("needs root to make a file that the user may not read")
    done = as_user(t, "run", "--mount", f"{t.scratch}:/work", "--", "/bin/cat", "/work/root-only")
    t.equal(done.status, 1, done.text())
    t.check(b"secret" not in done.out and b"Permission denied" in done.err, done.text())


def test_ordinary_user_as_root_in_the_cell_gains_nothing(t):
    done = as_user(t, "run", "--user", "0", "--", "/bin/sh", "-c", "id -u; cat /etc/shadow; exit 0")
    t.check(b"root:" not in done.out, done.out)


def test_ordinary_user_has_a_network(t):
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        seen = []

        def serve():
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(100))
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        done = as_user(t, "run", "--connect", f"tcp:127.0.0.2:{port}", "--", "/bin/bash", "-c",
                       f"echo hello > /dev/tcp/127.0.0.2/{port}")
        server.join(10)
    t.equal(done.status, 0, done.text())
    t.equal(seen, [b"hello\n"])


THREADS = """
import os, threading, time

def make(count):
    made = []
    try:
        while len(made) < count:
            made.append(threading.Thread(target=end.wait, daemon=True))
            made[-1].start()
    except RuntimeError:
        made.pop()
    return made

def tasks():
    return len(os.listdir("/proc/self/task"))

for attempt in range(3):
    end = threading.Event()
    made = make(400)
    print(0 < len(made) < 400, tasks() == len(made) + 1)
    end.set()
    for thread in made:
        thread.join()
    while tasks() > 1:
        time.sleep(0.01)
end = threading.Event()
make(400)
os.execv("/bin/echo", ["echo", "replaced"])
"""


def test_threads_that_the_host_refuses_do_not_exist(t):
    if t.port != "hosted" or os.geteuid() != 0:
        t.skip("needs root, and threads that are the host's")
    done = as_user(t, "run", "--", "/usr/bin/python3", "-u", "-c", THREADS, user=64321, limits=("prlimit", "--nproc=100:100"))
    t.equal(done.status, 0, done.text())
    t.equal(done.out.splitlines(), [b"True True"] * 3 + [b"replaced"])

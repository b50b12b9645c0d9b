# SPDX-License-Identifier: Apache-2.0
"""Do standard streams and the exit status behave as if the program ran directly?"""
import os
import subprocess
import time


def test_exit_status_of_the_example(t):
    done = t.cell(["/bin/sh", "-c", "cat > /work/f && exit 7"], "--mount", f"{t.scratch}:/work:rw", stdin=b"data\n",
                  status=7)
    t.equal((done.out, done.err), (b"", b""))
    with open(os.path.join(t.scratch, "f"), "rb") as f:
        t.equal(f.read(), b"data\n")


def test_true_and_false(t):
    t.cell(["/bin/true"], status=0)
    t.cell(["/bin/false"], status=1)


def test_signal_status(t):
    for name, number in (("TERM", 15), ("KILL", 9), ("SEGV", 11), ("HUP", 1)):
        t.cell(["/bin/bash", "-c", f"kill -{name} $$"], status=128 + number)


def test_output_and_errors_are_apart(t):
    done = t.cell(["/bin/sh", "-c", "echo out; echo err >&2; echo out2"], status=0)
    t.equal(done.out, b"out\nout2\n")
    t.equal(done.err, b"err\n")


def test_every_byte_passes(t):
    data = bytes(range(256)) * 4096  # a mebibyte of everything
    done = t.cell(["/bin/cat"], stdin=data, status=0)
    t.check(done.out == data, f"{len(done.out)} bytes of {len(data)} came back")


def test_much_output(t):
    done = t.cell(["/usr/bin/head", "-c", "8000000", "/dev/zero"], status=0)
    t.equal(len(done.out), 8000000)


def test_end_of_input_is_seen(t):
    done = t.cell(["/usr/bin/wc", "-c"], stdin=b"x" * 100000, status=0)
    t.equal(done.out, b"100000\n")
    t.equal(t.cell(["/usr/bin/wc", "-c"], stdin=b"", status=0).out, b"0\n")


def test_unread_input_does_not_block(t):
    t.cell(["/bin/true"], stdin=b"x" * 3000000, status=0)


def test_output_is_not_held_back(t):
    process = t.start(["/bin/sh", "-c", "echo first; read line; echo got $line"], stdin=subprocess.PIPE)
    try:
        t.wait_for_line(process, b"first")
        process.stdin.write(b"answer\n")
        process.stdin.flush()
        t.wait_for_line(process, b"got answer")
        done = t.finish(process)
        t.equal(done.status, 0)
    finally:
        process.kill()
        process.wait()


def test_input_of_the_shell_is_not_taken(t):
    # What the program did not read stays for the next one on a seekable file.
    done = subprocess.run(["/bin/sh", "-c", " ".join(["exec"] + [f"'{a}'" for a in t.argv(["/bin/sh", "-c", "head -n1"])]) +
                           " < /etc/passwd"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90)
    t.equal(done.returncode, 0, done.stderr)
    with open("/etc/passwd", "rb") as f:
        t.equal(done.stdout, f.readline())


def test_closed_streams(t):
    for redirections, expected in (("<&-", "0"), (">&-", "1"), ("2>&-", "2")):
        command = " ".join(f"'{a}'" for a in t.argv(
            ["/bin/sh", "-c", f"[ -e /proc/self/fd/{expected} ] && exit 9; exit 3"], "--no-tty"))
        done = subprocess.run(["/bin/bash", "-c", f"exec {command} {redirections}"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90)
        # Whether the program sees the stream closed or empty, the cell must run and end.
        t.check(done.returncode in (3, 9), done.returncode, done.stderr)


def test_reader_goes_away(t):
    # `cloister run ... | head -1` must end.
    process = t.start(["/usr/bin/yes"])
    process.stdout.readline()
    process.stdout.close()
    start = time.monotonic()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        t.check(False, "the cell runs on without a reader")
    t.check(process.returncode in (141, 1, 0), process.returncode, time.monotonic() - start)


def test_many_descriptors_of_the_launcher_do_not_leak_in(t):
    done = t.cell(["/bin/sh", "-c", "ls /proc/self/fd | wc -l"], status=0)
    t.equal(done.out, b"4\n")  # three streams and the directory itself

# SPDX-License-Identifier: Apache-2.0
"""Does an interactive terminal behave as if the program ran on it directly?"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from harness import common


class Terminal:
    """A cell on a pseudo-terminal."""

    def __init__(self, t, program, *options, rows=30, columns=100):
        self.t = t
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            argv = t.run_argv("--env", "TERM=dumb", "--env", "PATH=/usr/bin:/bin", "--env", "PS1=prompt> ", *options, "--",
                              *program)
            os.chdir("/")
            os.execv(argv[0], argv)
        self.text = b""
        self.status = None

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            part = os.read(self.fd, 65536)
        except OSError:
            part = b""
        self.text += part
        return bool(part)

    def expect(self, pattern, seconds=60):
        """Waits for a pattern in what the terminal shows; drops what was before its end."""
        end = time.monotonic() + seconds * self.t.arguments.slow
        while time.monotonic() < end:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            if not self.read(0.2) and self.gone():
                break
        self.t.check(False, f"no {pattern!r} in {self.text[-1500:]!r}")

    def type(self, text):
        os.write(self.fd, text)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def gone(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def end(self, seconds=30):
        """Waits until the cell has ended; its exit status."""
        limit = time.monotonic() + seconds * self.t.arguments.slow
        while not self.gone() and time.monotonic() < limit:
            self.read(0.05)
        self.t.check(self.gone(), f"the cell does not end: {self.text[-1000:]!r}")
        return self.status

    def close(self):
        if not self.gone():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def with_terminal(t, program, body, *options, **more):
    terminal = Terminal(t, program, *options, **more)
    try:
        body(terminal)
    finally:
        terminal.close()


BASH = ["/bin/bash", "--norc", "--noprofile", "-i"]


def test_interactive_shell(t):
    def body(x):
        x.expect(rb"prompt> ")
        x.type(b"echo $((6*7)); tty; test -t 0 && test -t 1 && test -t 2 && echo all\r")
        x.expect(rb"42\r\n")
        x.expect(rb"/dev/\S+\r\n")
        x.expect(rb"all\r\n")
        x.expect(rb"prompt> ")
        x.type(b"exit 5\r")
        t.equal(x.end(), 5)
    with_terminal(t, BASH, body)


def test_size_and_resize(t):
    def body(x):
        x.expect(rb"prompt> ")
        x.type(b"stty size\r")
        x.expect(rb"30 100\r\n")
        x.type(b"trap 'echo resized' WINCH; echo armed\r")
        x.expect(rb"armed\r\n")
        x.expect(rb"prompt> ")
        x.resize(44, 120)
        time.sleep(0.5)
        x.type(b"\r")
        x.expect(rb"resized")
        x.type(b"stty size\r")
        x.expect(rb"44 120\r\n")
        x.type(b"exit\r")
        x.end()
    with_terminal(t, BASH, body)


def test_interrupt(t):
    def body(x):
        x.expect(rb"prompt> ")
        x.type(b"sleep 1000; echo status $?\r")
        time.sleep(1)
        x.type(b"\x03")
        x.expect(rb"\^C")
        x.expect(rb"prompt> ")
        x.type(b"echo alive\r")
        x.expect(rb"alive\r\n")
        x.type(b"exit 0\r")
        t.equal(x.end(), 0)
    with_terminal(t, BASH, body)


def test_interrupt_ends_a_simple_program(t):
    def body(x):
        x.expect(rb"started\r\n")
        x.type(b"\x03")
        t.equal(x.end(), 128 + 2)
    with_terminal(t, ["/bin/sh", "-c", "echo started; exec sleep 1000"], body)


def test_job_control(t):
    def body(x):
        x.expect(rb"prompt> ")
        x.type(b"sleep 1000\r")
        time.sleep(0.7)
        x.type(b"\x1a")
        x.expect(rb"Stopped")
        x.expect(rb"prompt> ")
        x.type(b"jobs -l; bg; kill %1; wait %1; echo waited $?\r")
        x.expect(rb"waited 143\r\n")
        x.type(b"exit\r")
        x.end()
    with_terminal(t, BASH, body)


def test_end_of_file(t):
    def body(x):
        x.type(b"some words\r")
        x.expect(rb"some words\r\n.*some words\r\n|some words\r\nsome words\r\n")
        x.type(b"\x04")
        t.equal(x.end(), 0)
    with_terminal(t, ["/bin/cat"], body)


def test_end_of_file_before_the_cell_runs(t):
    """The host's terminal, not raw yet, takes it for the end; script(1) types it when it has no input of its own."""
    def body(x):
        x.type(b"\x04")
        x.expect(rb"is a terminal\r\n")
        t.equal(x.end(), 0)
    with_terminal(t, ["/bin/sh", "-c", "cat; test -t 0 && echo is a terminal"], body)


def test_raw_mode(t):
    def body(x):
        x.expect(rb"raw\r\n")
        x.type(b"a")
        x.expect(rb"got b'a'")
        x.type(b"\x03")
        x.expect(rb"got b'\\x03'")
        t.equal(x.end(), 0)
    with_terminal(t, ["/usr/bin/python3", "-c", "import tty, os, termios\nold = termios.tcgetattr(0)\n"
                      "tty.setraw(0)\nos.write(1, b'raw\\r\\n')\nfor i in range(2): os.write(1, b'got %r\\r\\n' % os.read(0, 10))\n"
                      "termios.tcsetattr(0, termios.TCSADRAIN, old)"], body)


def test_terminal_is_restored(t):
    """After the cell the host's terminal has its old modes."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.execv(common.cloister_path(t.arguments.kernel_build), t.run_argv("--", "/bin/stty", "raw", "-echo"))
    end = time.monotonic() + 60
    while time.monotonic() < end and os.waitpid(pid, os.WNOHANG)[0] == 0:
        if select.select([master], [], [], 0.05)[0]:
            os.read(master, 65536)
    t.equal(termios.tcgetattr(slave), before)
    os.close(master)
    os.close(slave)


def test_hang_up_ends_the_cell(t):
    x = Terminal(t, ["/bin/sh", "-c", "echo started; exec sleep 1000"])
    x.expect(rb"started\r\n")
    os.close(x.fd)
    end = time.monotonic() + 30
    while time.monotonic() < end and not x.gone():
        time.sleep(0.05)
    gone = x.gone()
    if not gone:
        os.kill(x.pid, signal.SIGKILL)
        os.waitpid(x.pid, 0)
    t.check(gone, "the cell runs on without its terminal")


def test_forced_terminal_without_one(t):
    done = common.command(t.run_argv("--tty", "--", "/usr/bin/tty"), 60, b"")
    t.check(done.status == 125 or b"/dev/" in done.out, done.status, done.text())

# SPDX-License-Identifier: Apache-2.0
"""Network grants: connections to granted addresses, published ports, UDP, and what is not granted. All on the host's loopback:
programs of the host listen on 127.0.0.2, which a rule has to name, as any loopback address."""
import contextlib
import errno
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from harness.system import only

PORTS = ("hosted", "x86")

ADDRESS = "127.0.0.2"
PYTHON = "/usr/bin/python3"

# Of every script that runs in a cell.
PROLOGUE = """
import errno, hashlib, os, select, socket, struct, sys, threading, time
def say(*words):
    print(*words, flush=True)
def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "none"
"""


def python(t, script, *options, **more):
    """Runs a script in a cell; its lines."""
    more.setdefault("status", 0)
    done = t.cell([PYTHON, "-c", PROLOGUE + script], *options, **more)
    return done.out.decode().splitlines()


def free_port(kind=socket.SOCK_STREAM, address=ADDRESS):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind((address, 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(handle, address=ADDRESS):
    """A TCP server on the host: handle(connection, peer) in a thread a connection. Yields its port."""
    listener = socket.create_server((address, 0), backlog=128)
    failures = []

    def serve(connection, peer):
        try:
            with connection:
                handle(connection, peer)
        except (OSError, AssertionError) as e:
            failures.append(e)

    def loop():
        while True:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, peer), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextlib.contextmanager
def cell_running(t, script, *options, arguments=()):
    """A cell whose script says "ready" when it is."""
    process = t.start([PYTHON, "-c", PROLOGUE + script, *arguments], *options, stdin=subprocess.PIPE)
    try:
        t.wait_for_line(process, b"ready")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def end(t, process, status=0):
    """The cell's script reads a line from standard input before it ends."""
    process.stdin.write(b"\n")
    process.stdin.flush()
    t.equal(process.wait(30 * t.arguments.slow), status, process.stderr.read().decode("utf-8", "replace")[-2000:])
    text = process.stderr.read()
    t.check(b"leaked: " not in text, text)


def read_all(connection):
    parts = []
    while True:
        part = connection.recv(1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_all_or(connection, size):
    """So many bytes, or what comes before the end."""
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


def devices():
    """Network processes on this machine."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                if f.read().strip() in ("cloister-vsock", "cloister-net"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def devices_of(process):
    """Network processes of one cell."""
    def parent(pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    return [pid for pid in devices() if parent(pid) == process.pid]


# ---- nothing granted ----

def test_no_grants_no_network(t):
    with server(lambda c, peer: c.sendall(b"x")) as port:
        lines = python(t, f"""
say(error_of(socket.create_connection, ("{ADDRESS}", {port}), 5))
say(error_of(socket.create_connection, ("10.1.2.3", 80), 5))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say(error_of(u.sendto, b"x", ("10.1.2.3", 53)))
""")
    t.equal(lines, ["ECONNREFUSED", "ENETUNREACH", "ENETUNREACH"])


def test_not_granted(t):
    with server(lambda c, peer: c.sendall(b"x")) as port:
        lines = python(t, f"""
say(error_of(socket.create_connection, ("{ADDRESS}", {port}), 5))
say(error_of(socket.create_connection, ("10.1.2.3", 80), 5))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say(error_of(u.sendto, b"x", ("10.1.2.3", 53)))
""", "--connect", f"tcp:127.0.0.3:{port}", "--connect", "tcp:*:*", "--net", "none", "--connect", f"tcp:127.0.0.3:{port}")
    t.equal(lines, ["ECONNREFUSED", "ENETUNREACH", "ENETUNREACH"])


def test_everything_is_not_the_hosts_loopback(t):
    with server(lambda c, peer: c.sendall(b"x")) as port:
        lines = python(t, f"""
for address in "{ADDRESS}", "0.0.0.0":
    say(error_of(socket.create_connection, (address, {port}), 5))
say(error_of(socket.create_connection, ("::1", {port}), 5))
say(error_of(socket.create_connection, ("::ffff:{ADDRESS}", {port}), 5))
""", "--connect", "tcp:*:*", "--connect", "tcp:0.0.0.0/0:*", "--connect", "tcp:[::]/0:*")
    t.equal(lines, ["ECONNREFUSED"] * 4)


def test_bad_rules(t):
    for options, word in ((["--connect", "10.0.0.1:5"], b"tcp:HOST:PORT"), (["--connect", "tcp:10.0.0.1:0"], b"port"),
                          (["--connect", "tcp:10.0.0.1/8:5"], b"bits"), (["--publish", "80"], b"HOSTPORT:CELLPORT"),
                          (["--publish", "1.2.3:80:80"], b"no address"), (["--net", "bridge"], b"none")):
        done = t.cell(["/bin/true"], *options)
        t.equal(done.status, 125, options)
        t.check(word in done.err, options, done.err)


# ---- connecting ----

def test_fetch(t):
    t.need("/usr/bin/curl")
    with open(os.path.join(t.scratch, "page"), "wb") as f:
        f.write(b"a page of the host\n")
    port = free_port()
    web = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", ADDRESS, str(port)], cwd=t.scratch,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port)):
                break
            time.sleep(0.1)
        done = t.cell(["/usr/bin/curl", "-sS", f"http://{ADDRESS}:{port}/page"], "--connect", f"tcp:{ADDRESS}:{port}", status=0)
        t.equal(done.out, b"a page of the host\n")
    finally:
        web.terminate()
        web.wait()


def test_names_are_true(t):
    seen = []

    def handle(connection, peer):
        seen.append(f"{peer[0]} {peer[1]}")
        connection.sendall(connection.recv(100))

    with server(handle) as port:
        lines = python(t, f"""
s = socket.socket()
s.bind(("", 0))
s.connect(("{ADDRESS}", {port}))
say(*s.getsockname())
say(*s.getpeername())
s.sendall(b"echo")
say(s.recv(100).decode(), s.recv(100))
s6 = socket.socket(socket.AF_INET6)
s6.connect(("::ffff:{ADDRESS}", {port}))
say(*s6.getpeername()[:2])
s6.sendall(b"6")
s6.recv(1)
""", "--connect", f"tcp:{ADDRESS}:{port}")
    t.equal(lines[0], seen[0])
    t.equal(lines[1:], [f"{ADDRESS} {port}", "echo b''", f"::ffff:{ADDRESS} {port}"])


def test_rules_by_name_and_for_ipv6(t):
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        t.skip("the host has no IPv6 loopback")
    with listener:
        port = listener.getsockname()[1]
        lines = python(t, f"""
s = socket.create_connection(("::1", {port}))
say(s.getsockname()[0], s.getpeername()[0], s.getpeername()[1] == {port})
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
u.connect(("::1", {port}))
say(u.getsockname()[0], u.getpeername()[0])
""", "--connect", f"tcp:[::1]:{port}", "--connect", f"udp:[::1]:{port}")
    t.equal(lines, ["::1 ::1 True", "::1 ::1"])
    with server(lambda c, peer: c.sendall(b"by name"), "127.0.0.1") as port:
        lines = python(t, f'say(socket.create_connection(("127.0.0.1", {port})).recv(100).decode())',
                       "--connect", f"tcp:localhost:{port}")
    t.equal(lines, ["by name"])


def test_manifest(t):
    with server(lambda c, peer: c.sendall(b"granted")) as port:
        path = os.path.join(t.scratch, "m.toml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'fs.root = {{ uri = "file:/", read_only = true }}\n[net]\nconnect = ["tcp:127.0.0.0/8:{port}"]\n')
        lines = python(t, f'say(socket.create_connection(("{ADDRESS}", {port})).recv(100).decode())', "-m", path)
        t.equal(lines, ["granted"])
        with open(path, "a", encoding="utf-8") as f:
            f.write('publish = ["nowhere"]\n')
        done = t.cell(["/bin/true"], "-m", path)
        t.equal(done.status, 125)
        t.check(b"m.toml:4: net.publish" in done.err, done.err)


def test_refused(t):
    port = free_port()
    lines = python(t, f"""
a = ("{ADDRESS}", {port})
say(error_of(socket.create_connection, a))
s = socket.socket()
s.setblocking(False)
say(errno.errorcode[s.connect_ex(a)])
p = select.poll()
p.register(s, select.POLLOUT)
events = p.poll(10000)[0][1]
say(bool(events & select.POLLERR), bool(events & select.POLLHUP))
say(errno.errorcode[s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)], s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
say(error_of(s.getpeername))
""", "--connect", f"tcp:{ADDRESS}:{port}")
    t.equal(lines, ["ECONNREFUSED", "EINPROGRESS", "True True", "ECONNREFUSED 0", "ENOTCONN"])


def test_nonblocking_connect(t):
    with server(lambda c, peer: c.sendall(c.recv(100))) as port:
        lines = python(t, f"""
a = ("{ADDRESS}", {port})
s = socket.socket()
s.setblocking(False)
say(errno.errorcode[s.connect_ex(a)])
e = select.epoll()
e.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)
say(e.poll(10)[0][1] == select.EPOLLOUT)
say(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.connect_ex(a), errno.errorcode[s.connect_ex(a)])
say(error_of(s.recv, 10))
s.send(b"abc")
e.modify(s, select.EPOLLIN | select.EPOLLRDHUP)
got = b""
while True:
    events = e.poll(10)[0][1]
    part = s.recv(100)
    if not part:
        break
    got += part
say(got.decode(), bool(events & select.EPOLLRDHUP))
""", "--connect", f"tcp:{ADDRESS}:{port}")
    t.equal(lines, ["EINPROGRESS", "True", "0 0 EISCONN", "EAGAIN", "abc True"])


def test_half_close(t):
    def handle(connection, peer):
        connection.sendall(hashlib.sha256(read_all(connection)).hexdigest().encode())

    with server(handle) as port:
        lines = python(t, f"""
s = socket.create_connection(("{ADDRESS}", {port}))
data = os.urandom(300000)
s.sendall(data)
s.shutdown(socket.SHUT_WR)
say(error_of(s.send, b"more"))
say(s.recv(1000, socket.MSG_WAITALL).decode() == hashlib.sha256(data).hexdigest())
say(s.recv(1))
""", "--connect", f"tcp:{ADDRESS}:{port}")
    t.equal(lines, ["EPIPE", "True", "b''"])


def test_reset(t):
    def handle(connection, peer):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with server(handle) as port:
        lines = python(t, f"""
s = socket.create_connection(("{ADDRESS}", {port}))
s.send(b"x")
say(error_of(s.recv, 1))
say(error_of(s.send, b"y"))
""", "--connect", f"tcp:{ADDRESS}:{port}")
    t.equal(lines, ["ECONNRESET", "EPIPE"])


def test_reset_by_the_cell(t):
    """SO_LINGER without a time, unread data, connections nobody accepted: the other side hears of a reset."""
    outcomes = []

    def handle(connection, peer):
        connection.sendall(b"x")
        try:
            outcomes.append(connection.recv(1))
        except ConnectionResetError:
            outcomes.append("reset")

    port = free_port()
    with server(handle) as outside, cell_running(t, f"""
a = socket.create_connection(("{ADDRESS}", {outside}))
a.recv(1)
a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
a.close()
b = socket.create_connection(("{ADDRESS}", {outside}))
select.select([b], [], [])
b.close()
l = socket.create_server(("", 80))
say("ready")
select.select([l], [], [])
l.close()
sys.stdin.readline()
""", "--connect", f"tcp:{ADDRESS}:{outside}", "--publish", f"{ADDRESS}:{port}:80") as process:
        with contextlib.suppress(ConnectionResetError):  # connecting may see it already
            with socket.create_connection((ADDRESS, port), timeout=30) as c:
                t.equal(c.recv(1), "a reset")
        end(t, process)
    t.equal(outcomes, ["reset", "reset"])


def test_options(t):
    with server(lambda c, peer: c.sendall(c.recv(100))) as port:
        lines = python(t, f"""
s = socket.create_connection(("{ADDRESS}", {port}))
for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)):
    s.setsockopt(level, option, 1)
    say(s.getsockopt(level, option))
s.settimeout(0.2)
say(error_of(s.recv, 1) if False else "")
try:
    s.recv(1)
except TimeoutError:
    say("timeout")
s.setblocking(True)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
say(error_of(s.recv, 1))
s.send(b"peek")
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
say(s.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL).decode(), s.recv(2).decode(), s.recv(10).decode())
""", "--connect", f"tcp:{ADDRESS}:{port}")
    t.equal(lines, ["1", "1", "", "timeout", "EAGAIN", "peek pe ek"])


WAITING = """
import ctypes, fcntl, mmap, signal, termios
def connection(say_first=b"x"):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    s.sendall(say_first)
    return s
def in_a_thread(function):
    got = []
    x = threading.Thread(target=lambda: got.append(function()))
    x.start()
    time.sleep(0.2)
    return x, got

# A reader that waits hears of a shutdown by another thread; so does a writer.
s = connection(b"q")
x, got = in_a_thread(lambda: s.recv(1))
s.shutdown(socket.SHUT_RD)
x.join(10)
say(got)
s = connection(b"q")
def fill():
    try:
        while True:
            s.send(bytes(1 << 20))
    except BrokenPipeError:
        return "pipe"
x, got = in_a_thread(fill)
s.shutdown(socket.SHUT_WR)
x.join(10)
say(got)

# Signals: a handler interrupts, and without SA_RESTART the call says so.
class Alarm(Exception):
    pass
def handler(*_):
    raise Alarm
signal.signal(signal.SIGALRM, handler)
s = connection(b"q")
for call in (lambda: s.recv(1)), (lambda: [s.send(bytes(1 << 20)) for _ in range(1000)]):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        call()
    except Alarm:
        say("alarm")

# A process that waits is killed, stopped and looked into.
secret = ctypes.create_string_buffer(b"the parent's own")
pid = os.fork()
if not pid:
    s = connection(b"q")
    secret.value = b"the child's own"
    s.recv(1)
    os._exit(1)
time.sleep(0.5)
with open(f"/proc/{pid}/mem", "rb") as f:
    f.seek(ctypes.addressof(secret))
    say(f.read(15).decode())
os.kill(pid, signal.SIGSTOP)
say(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
os.kill(pid, signal.SIGCONT)
os.kill(pid, signal.SIGKILL)
say(os.waitpid(pid, 0)[1])

# Edge-triggered epoll tells of every arrival, and of the end.
s = connection(b"e")
s.setblocking(False)
e = select.epoll()
e.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
time.sleep(0.1)
e.poll(1)
for i in range(50):
    s.send(b"%02d" % i)
    got = b""
    while got != b"%02d" % i:
        if [events for _, events in e.poll(10) if events & select.EPOLLIN]:
            try:
                got += s.recv(100)
            except BlockingIOError:
                pass
say("edges", error_of(s.recv, 1))
s.shutdown(socket.SHUT_WR)
while True:
    [(_, events)] = e.poll(10)
    if events & select.EPOLLRDHUP:
        break
say(bool(events & select.EPOLLIN), bool(events & select.EPOLLHUP), s.recv(1))

# The error of a reset is told once, whoever asks first.
s = connection(b"r")
p = select.poll()
p.register(s, 0)
say(bool(p.poll(10000)[0][1] & (select.POLLERR | select.POLLHUP)))
say(errno.errorcode[s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)], s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
say(s.recv(1), error_of(s.send, b"x"))

# How much there is, vectors of many pieces, memory that was never touched.
s = connection(b"e")
s.sendmsg([b"%03d" % i for i in range(100)])
count = bytearray(4)
while struct.unpack("i", count)[0] < 300:
    fcntl.ioctl(s, termios.FIONREAD, count)
s.recv(10, socket.MSG_PEEK)
fcntl.ioctl(s, termios.FIONREAD, count)
pieces = [bytearray(5) for _ in range(60)]
say(struct.unpack("i", count)[0], s.recvmsg_into(pieces)[0], b"".join(pieces) == b"".join(b"%03d" % i for i in range(100)))
shared = mmap.mmap(-1, 1 << 16)
s.sendall(bytes(range(256)) * 200)
got = 0
while got < 51200:
    got += s.recv_into(memoryview(shared)[got:51200])
say(shared[:51200] == bytes(range(256)) * 200)
s.sendall(memoryview(mmap.mmap(-1, 40000)))
say(s.recv(40000, socket.MSG_WAITALL) == bytes(40000))
"""


def test_waiting(t):
    """What Linux does, which runs the same script first."""
    def handle(connection, peer):
        mode = connection.recv(1)
        if mode == b"r":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if mode == b"q":  # says nothing, hears nothing
            over.wait(120)
            return
        while (part := connection.recv(1 << 16)):
            connection.sendall(part)

    over = threading.Event()
    try:
        with server(handle) as port:
            program = [PYTHON, "-c", PROLOGUE + WAITING, ADDRESS, str(port)]
            native = subprocess.run(program, capture_output=True, timeout=60, check=True).stdout.decode().splitlines()
            t.equal(native, ["[b'']", "['pipe']", "alarm", "alarm", "the child's own", "True", "9", "edges EAGAIN", "True True b''",
                             "True", "ECONNRESET 0", "b'' EPIPE", "300 300 True", "True", "True"])
            done = t.cell(program, "--connect", f"tcp:{ADDRESS}:{port}", status=0)
            t.equal(done.out.decode().splitlines(), native)
    finally:
        over.set()


def test_big_transfers(t):
    """Both directions of one connection at once, with slow readers, checked by digest."""
    size = 24 << 20
    digests = {}
    done = threading.Event()

    def handle(connection, peer):
        data = os.urandom(1 << 20) * (size >> 20)
        digests["sent"] = hashlib.sha256(data).hexdigest()
        sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        digests["received"] = hashlib.sha256(read_all(connection)).hexdigest()
        sender.join()
        done.set()

    with server(handle) as port:
        lines = python(t, f"""
s = socket.create_connection(("{ADDRESS}", {port}))
data = os.urandom(1 << 20) * ({size} >> 20)
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
h, n = hashlib.sha256(), 0
time.sleep(0.3)
while True:
    part = s.recv(100000)
    if not part:
        break
    h.update(part)
    n += len(part)
sender.join()
say(n, h.hexdigest(), hashlib.sha256(data).hexdigest())
""", "--connect", f"tcp:{ADDRESS}:{port}", timeout=180)
        t.check(done.wait(30), "the cell's last words did not arrive")
    n, received, sent = lines[0].split()
    t.equal((int(n), received), (size, digests["sent"]))
    t.equal(digests["received"], sent)


def test_many_connections(t):
    with server(lambda c, peer: c.sendall(read_all(c)[::-1])) as port:
        lines = python(t, f"""
results = []
def one(i):
    s = socket.create_connection(("{ADDRESS}", {port}))
    text = (str(i) * 1000).encode()
    s.sendall(text)
    s.shutdown(socket.SHUT_WR)
    got = b""
    while (part := s.recv(65536)):
        got += part
    results.append(got == text[::-1])
    s.close()
threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
for x in threads: x.start()
for x in threads: x.join()
many = [socket.create_connection(("{ADDRESS}", {port})) for _ in range(200)]
say(len(results), all(results), len(many))
""", "--connect", f"tcp:{ADDRESS}:{port}", "--cpus", "2", timeout=180)
    t.equal(lines, ["100 True 200"])


def test_last_words(t):
    """What a program sent before it ended arrives, whatever its reader's speed."""
    got = []
    done = threading.Event()

    def handle(connection, peer):
        time.sleep(1)
        got.append(len(read_all(connection)))
        done.set()

    with server(handle) as port:
        python(t, f"""
s = socket.create_connection(("{ADDRESS}", {port}))
s.setblocking(False)
total = 0
try:
    while total < 8 << 20:
        total += s.send(bytes(50000))
except BlockingIOError:
    pass
say(total)
""", "--connect", f"tcp:{ADDRESS}:{port}")
        t.check(done.wait(20), "the connection did not end")
    t.check(got[0] > 100000, got)


# ---- publishing ----

SERVE = """
l = socket.create_server(("", 80), backlog=5)
say("ready")
def serve(c):
    data = b""
    while (part := c.recv(65536)):
        data += part
    c.sendall(hashlib.sha256(data).hexdigest().encode() + b" %s %d %s %d" % (
        c.getsockname()[0].encode(), c.getsockname()[1], c.getpeername()[0].encode(), c.getpeername()[1]))
    c.close()
def loop():
    while True:
        c, peer = l.accept()
        assert peer == c.getpeername()
        threading.Thread(target=serve, args=(c,), daemon=True).start()
threading.Thread(target=loop, daemon=True).start()
sys.stdin.readline()
"""


def ask(port, data=b"x", address=ADDRESS):
    with socket.create_connection((address, port), timeout=60) as c:
        name = c.getsockname()
        c.sendall(data)
        c.shutdown(socket.SHUT_WR)
        return read_all(c).decode().split(), name


def test_publish(t):
    port = free_port()
    with cell_running(t, SERVE, "--publish", f"{ADDRESS}:{port}:80") as process:
        data = os.urandom(5 << 20)
        words, name = ask(port, data)
        t.equal(words, [hashlib.sha256(data).hexdigest(), ADDRESS, "80", name[0], str(name[1])])
        results = []
        threads = [threading.Thread(target=lambda: results.append(len(ask(port)[0]))) for _ in range(60)]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        t.equal(results, [5] * 60)
        end(t, process)


def test_long_connections_and_a_small_cell(t):
    """Connections of either direction that say nothing for long stay; memory is little."""
    port = free_port()

    def handle(connection, peer):
        connection.sendall(connection.recv(100))

    with server(handle) as outside, \
            cell_running(t, f"""
s = socket.create_connection(("{ADDRESS}", {outside}))
l = socket.create_server(("", 80))
say("ready")
c, peer = l.accept()
c.sendall(c.recv(100))
s.sendall(b"still")
say(s.recv(100).decode())
sys.stdin.readline()
""", "--memory", "128M", "--publish", f"{ADDRESS}:{port}:80", "--connect", f"tcp:{ADDRESS}:{outside}") as process:
        with socket.create_connection((ADDRESS, port), timeout=30) as c:
            time.sleep(12)
            c.sendall(b"there")
            t.equal(read_all_or(c, 5), b"there")
        t.wait_for_line(process, b"still")
        end(t, process)


def test_many_short_connections(t):
    """More in a row than there can be at a time, beside one that stays."""
    port = free_port()
    with cell_running(t, """
l = socket.create_server(("", 80), backlog=50)
say("ready")
def serve():
    stays, _ = l.accept()
    while True:
        c, peer = l.accept()
        c.sendall(b"x")
        c.close()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.readline()
""", "--memory", "128M", "--publish", f"{ADDRESS}:{port}:80") as process:
        with socket.create_connection((ADDRESS, port), timeout=30):
            for _ in range(600):
                with socket.create_connection((ADDRESS, port), timeout=30) as c:
                    t.equal(c.recv(2), b"x")
        end(t, process)


def test_publish_web_server(t):
    t.need("/usr/bin/curl")
    port = free_port()
    script = """
import http.server
os.chdir("/usr/share/common-licenses")
s = http.server.ThreadingHTTPServer(("", 8000), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=s.serve_forever, daemon=True).start()
say("ready")
sys.stdin.readline()
"""
    with cell_running(t, script, "-p", f"{ADDRESS}:{port}:8000") as process:
        for _ in range(3):
            done = subprocess.run(["/usr/bin/curl", "-sS", f"http://{ADDRESS}:{port}/GPL-2"], capture_output=True, timeout=60,
                                  check=False)
            with open("/usr/share/common-licenses/GPL-2", "rb") as f:
                t.equal(done.stdout, f.read(), done.stderr)
        end(t, process)


def test_published_port_nobody_listens_on(t):
    """Refused until a program listens, and again when it no longer does."""
    port = free_port()
    script = """
say("ready")
sys.stdin.readline()
for i in range(2):
    l = socket.create_server(("", 80))
    say("listens")
    c, peer = l.accept()
    c.sendall(b"hello")
    c.close()
    l.close()
    say("closed")
    sys.stdin.readline()
l = socket.create_server(("127.0.0.1", 80))
say("private")
sys.stdin.readline()
"""
    with cell_running(t, script, "--publish", f"{ADDRESS}:{port}:80") as process:
        def expect_refused():
            for _ in range(100):  # the host hears of the close a moment later
                try:
                    socket.create_connection((ADDRESS, port), timeout=10).close()
                except ConnectionRefusedError:
                    return
                except ConnectionResetError:
                    pass
                time.sleep(0.05)
            t.check(False, "not refused")
        expect_refused()
        for _ in range(2):
            process.stdin.write(b"\n")
            process.stdin.flush()
            t.wait_for_line(process, b"listens")
            with socket.create_connection((ADDRESS, port), timeout=30) as c:
                t.equal(read_all(c), b"hello")
            t.wait_for_line(process, b"closed")
            expect_refused()
        process.stdin.write(b"\n")
        process.stdin.flush()
        t.wait_for_line(process, b"private")
        expect_refused()
        end(t, process)


def test_published_port_from_inside(t):
    port = free_port()
    lines = python(t, """
l = socket.create_server(("", 80))
s = socket.create_connection(("127.0.0.1", 80))
c, peer = l.accept()
say(peer == s.getsockname(), c.getsockname(), s.getpeername())
""", "--publish", f"{ADDRESS}:{port}:80")
    t.equal(lines, ["True ('127.0.0.1', 80) ('127.0.0.1', 80)"])


def test_published_port_is_taken(t):
    with socket.create_server((ADDRESS, 0)) as taken:
        done = t.cell(["/bin/true"], "--publish", f"{ADDRESS}:{taken.getsockname()[1]}:80")
    t.equal(done.status, 122)
    t.check(b"cannot publish" in done.err and b"in use" in done.err, done.err)


def test_workers_share_a_published_port(t):
    """Several processes accept on one socket, and several sockets share the port."""
    port = free_port()
    script = """
def worker(l):
    if os.fork():
        return
    while True:
        c, peer = l.accept()
        c.sendall(b"%d" % os.getpid())
        c.close()
for i in range(2):
    l = socket.socket()
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    l.bind(("", 80))
    l.listen()
    worker(l)
    worker(l)
say("ready")
sys.stdin.readline()
os.kill(0, 9)
"""
    with cell_running(t, script, "--publish", f"{ADDRESS}:{port}:80", "--cpus", "2") as process:
        pids = set()
        for _ in range(60):
            with socket.create_connection((ADDRESS, port), timeout=30) as c:
                pids.add(read_all(c))
        t.check(len(pids) >= 2 and all(p.isdigit() for p in pids), pids)


def test_publish_ipv6(t):
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
            port = s.getsockname()[1]
    except OSError:
        t.skip("the host has no IPv6 loopback")
    script = """
l = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
say("ready")
for i in range(2):
    c, peer = l.accept()
    c.sendall(peer[0].encode() + b" " + c.getsockname()[0].encode())
    c.close()
sys.stdin.readline()
"""
    with cell_running(t, script, "--publish", f"[::1]:{port}:80", "--publish", f"{ADDRESS}:{port}:80") as process:
        with socket.create_connection(("::1", port), timeout=30) as c:
            t.equal(read_all(c), b"::1 ::1")
        with socket.create_connection((ADDRESS, port), timeout=30) as c:
            t.equal(read_all(c).split()[1], f"::ffff:{ADDRESS}".encode())
        end(t, process)


def test_publish_by_kind_of_address(t):
    """An IPv4 socket gets no IPv6 connections, and an IPv6 one that wants no others no IPv4 ones."""
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
            port = s.getsockname()[1]
    except OSError:
        t.skip("the host has no IPv6 loopback")
    script = """
four = socket.create_server(("", 80))
say("ready")
sys.stdin.readline()
six = socket.create_server(("::", 80), family=socket.AF_INET6)
say("both")
for l in six, four:
    c, peer = l.accept()
    c.sendall(peer[0].encode())
    c.close()
sys.stdin.readline()
"""
    with cell_running(t, script, "--publish", f"[::1]:{port}:80", "--publish", f"{ADDRESS}:{port}:80") as process:
        try:
            socket.create_connection(("::1", port), timeout=10)
            t.check(False, "the IPv6 port listens")
        except ConnectionRefusedError:
            pass
        time.sleep(0.5)
        [pid] = devices_of(process)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            t.check(int(f.read().rsplit(")", 1)[1].split()[11]) < 20, "the network process spins")
        process.stdin.write(b"\n")
        process.stdin.flush()
        t.wait_for_line(process, b"both")
        for address in "::1", ADDRESS:
            with socket.create_connection((address, port), timeout=30) as c:
                t.equal(read_all(c).split(b"%")[0] in (b"::1", b"127.0.0.1"), True)
        end(t, process)


# ---- UDP ----

@contextlib.contextmanager
def udp_server(answer, port=0):
    """Answers each datagram. answer(datagram, peer): with what. Yields its port and what it heard so far."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((ADDRESS, port))
    heard = []

    def loop():
        while True:
            try:
                data, peer = s.recvfrom(65536)
            except OSError:
                return
            if data == b"end":
                return
            heard.append(data)
            s.sendto(answer(data, peer), peer)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield s.getsockname()[1], heard
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"end", s.getsockname())
        thread.join(5)
        s.close()


@contextlib.contextmanager
def udp_echo():
    """Answers each datagram with its sender's port and what it said."""
    with udp_server(lambda data, peer: f"{peer[1]} ".encode() + data) as (port, _):
        yield port


def test_udp(t):
    with udp_echo() as port:
        lines = python(t, f"""
a = ("{ADDRESS}", {port})
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.sendto(b"one", a)
data, peer = u.recvfrom(1000)
say(data.decode(), peer == a, int(data.split()[0]) == u.getsockname()[1])
big = os.urandom(60000)
u.sendto(big, a)
data, peer = u.recvfrom(65536)
say(data.split(b" ", 1)[1] == big)
u.sendto(b"", a)
say(u.recvfrom(100)[0].split(b" ", 1)[1])
say(error_of(u.sendto, bytes(65508), a))
u.setblocking(False)
say(error_of(u.recv, 10))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
c.connect(a)
c.send(b"connected")
data = c.recv(1000, socket.MSG_PEEK)
say(data == c.recv(1000), int(data.split()[0]) == c.getsockname()[1], c.getsockname()[0] != "0.0.0.0", c.getpeername() == a)
p = select.poll()
p.register(c, select.POLLIN | select.POLLOUT)
say(p.poll(0)[0][1] == select.POLLOUT)
c.send(b"again")
while not p.poll(10000)[0][1] & select.POLLIN:
    time.sleep(0.01)
say(c.recv(3).decode() != "")
inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
inside.bind(("127.0.0.1", 0))
u.sendto(b"inside", inside.getsockname())
say(inside.recv(100).decode())
u.sendto(b"six", a)
s6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s6.sendto(b"v6", ("::ffff:{ADDRESS}", {port}))
data, peer = s6.recvfrom(100)
say(data.split()[1].decode(), peer[0])
""", "--connect", f"udp:{ADDRESS}:{port}")
    t.check(lines[0].endswith("one True True"), lines)
    t.equal(lines[1:], ["True", "b''", "EMSGSIZE", "EAGAIN", "True True True True", "True", "True", "inside",
                        f"v6 ::ffff:{ADDRESS}"])


def test_udp_from_two_threads(t):
    """The first datagrams of a socket, sent at the same time."""
    with udp_echo() as port:
        lines = python(t, f"""
bad = []
for i in range(40):
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.settimeout(20)
    barrier = threading.Barrier(4)
    def send(n):
        barrier.wait()
        try:
            u.sendto(b"%d" % n, ("{ADDRESS}", {port}))
        except OSError as e:
            bad.append(e)
    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for x in threads: x.start()
    for x in threads: x.join()
    got = sorted(u.recv(100).split()[1] for _ in range(4 - len(bad)))
    if got != [b"0", b"1", b"2", b"3"]:
        bad.append(got)
    def connect(n):
        barrier.wait()
        try:
            u.connect(("{ADDRESS}", {port}))
        except OSError as e:
            bad.append(e)
    threads = [threading.Thread(target=connect, args=(n,)) for n in range(4)]
    for x in threads: x.start()
    for x in threads: x.join()
    u.send(b"connected")
    if u.recv(100).split()[1] != b"connected":
        bad.append(i)
    u.close()
say(bad)
""", "--connect", f"udp:{ADDRESS}:{port}", "--cpus", "2")
    t.equal(lines, ["[]"])


def test_udp_refused(t):
    port = free_port(socket.SOCK_DGRAM)
    lines = python(t, f"""
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect(("{ADDRESS}", {port}))
u.send(b"x")
u.settimeout(10)
say(error_of(u.recv, 10))
""", "--connect", f"udp:{ADDRESS}:{port}")
    t.equal(lines, ["ECONNREFUSED"])


def test_publish_udp(t):
    port = free_port(socket.SOCK_DGRAM)
    script = """
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("", 53))
say("ready")
while True:
    data, peer = u.recvfrom(65536)
    if data == b"end":
        break
    u.sendto(hashlib.sha256(data).hexdigest().encode() + b" %s %d" % (peer[0].encode(), peer[1]), peer)
say(error_of(u.sendto, b"x", ("10.1.2.3", 9)))
sys.stdin.readline()
"""
    with cell_running(t, script, "--publish", f"{ADDRESS}:{port}:53/udp") as process:
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(10)]
        for i, c in enumerate(clients):
            c.settimeout(30)
            c.connect((ADDRESS, port))
            data = os.urandom(1000 + 5000 * i)
            c.send(data)
            name = c.getsockname()
            t.equal(c.recv(1000).decode(), f"{hashlib.sha256(data).hexdigest()} {name[0]} {name[1]}")
        clients[0].send(b"end")
        t.wait_for_line(process, b"ENETUNREACH")
        for c in clients:
            c.close()
        end(t, process)


# ---- network namespaces: grants are the first one's ----

NAMESPACES = """
import ctypes, fcntl
libc = ctypes.CDLL(None, use_errno=True)
USER, NET, MOUNT = 0x10000000, 0x40000000, 0x00020000  # CLONE_NEW*
def unshare(flags):
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")
def raise_lo():
    with socket.socket() as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
"""


def test_grants_stay_in_the_first_namespace(t):
    """From another one nothing leads outside but sockets that were handed over; and nothing leads there."""
    published, published_udp = free_port(), free_port(socket.SOCK_DGRAM)
    path = os.path.join(t.scratch, "m.toml")
    script = NAMESPACES + """
say("ready")
tcp, udp = (sys.argv[1], int(sys.argv[2])), (sys.argv[1], int(sys.argv[3]))
def ways_out(where):
    words = [error_of(socket.create_connection, tcp, 30)]
    for family, to in (socket.AF_INET, udp), (socket.AF_INET6, ("::ffff:" + udp[0], udp[1])):
        with socket.socket(family, socket.SOCK_DGRAM) as u:
            words.append(error_of(u.sendto, where.encode(), to))
        with socket.socket(family, socket.SOCK_DGRAM) as u:
            words.append(error_of(u.connect, to))
            if words[-1] == "none":
                u.send(b"connected " + where.encode())
    return " ".join([where, *words])
def serve(where):
    l = socket.create_server(("", 80), reuse_port=True)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("", 53))
    def tcp_loop():
        while True:
            with l.accept()[0] as c:
                c.sendall(where)
    def udp_loop():
        while True:
            u.sendto(where, u.recvfrom(100)[1])
    for loop in tcp_loop, udp_loop:
        threading.Thread(target=loop, daemon=True).start()

ours, theirs = socket.socketpair()
if not os.fork():
    ours.close()
    unshare(USER | NET)
    lines = [ways_out("down")]
    raise_lo()
    lines.append(ways_out("up"))
    _, (s, u), _, _ = socket.recv_fds(theirs, 1, 2)
    s, u = socket.socket(fileno=s), socket.socket(fileno=u)
    s.connect(tcp)
    u.sendto(b"handed over", udp)
    lines.append("handed over " + s.recv(100).decode() + " " + u.recv(100).decode())
    serve(b"second")
    theirs.sendall("\\n".join(lines).encode())
    theirs.recv(1)
    os._exit(0)
say(ways_out("first"))
with socket.socket() as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
    socket.send_fds(ours, [b"x"], [s.fileno(), u.fileno()])
say(ours.recv(1000).decode())
sys.stdin.readline()
serve(b"first")
say("serves")
sys.stdin.readline()
ours.close()
os.wait()
"""
    with server(lambda c, peer: c.sendall(b"granted")) as port, udp_server(lambda data, peer: data) as (udp, got):
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'fs.root = {{ uri = "file:/", read_only = true }}\n[net]\n'
                    f'connect = ["tcp:{ADDRESS}:{port}", "udp:{ADDRESS}:{udp}"]\n'
                    f'publish = ["{ADDRESS}:{published}:80", "{ADDRESS}:{published_udp}:53/udp"]\n')
        with cell_running(t, script, "-m", path, arguments=(ADDRESS, str(port), str(udp))) as process:
            lines = [process.stdout.readline().decode().strip() for _ in range(4)]
            t.equal(lines, ["first none none none none none", "down" + " ENETUNREACH" * 5, "up ECONNREFUSED none none none none",
                            "handed over granted handed over"])
            for _ in range(100):  # datagrams take their time
                if len(got) < 5:
                    time.sleep(0.1)
            t.equal(sorted(got), [b"connected first"] * 2 + [b"first"] * 2 + [b"handed over"])
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((ADDRESS, published), timeout=30):
                t.check(False, "a published port leads into the second namespace")
            process.stdin.write(b"\n")
            process.stdin.flush()
            t.wait_for_line(process, b"serves")
            for _ in range(4):
                with socket.create_connection((ADDRESS, published), timeout=30) as c:
                    t.equal(read_all(c), b"first")
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
                    u.settimeout(30)
                    u.sendto(b"x", (ADDRESS, published_udp))
                    t.equal(u.recv(100), b"first")
            end(t, process)


def name_server_answer(query, peer):
    """10.9.8.7 for an IPv4 address, nothing for others."""
    end_of_question = query.index(b"\0", 12) + 5
    wanted = query[end_of_question - 3] == 1
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\x09\x08\x07" if wanted else b""
    return query[:2] + b"\x81\x80\0\1" + bytes([0, len(record) > 0]) + bytes(4) + query[12:end_of_question] + record


def test_name_server_is_the_first_namespaces(t):
    with contextlib.ExitStack() as stack:
        try:
            _, got = stack.enter_context(udp_server(name_server_answer, 53))
        except OSError:
            t.skip(f"port 53 of {ADDRESS} cannot be had")
        lines = python(t, NAMESPACES + f"""
def look_up(name):
    try:
        return socket.gethostbyname(name)
    except socket.gaierror:
        return "not found"
with open("/tmp/resolv.conf", "w") as f:
    f.write("nameserver {ADDRESS}\\noptions timeout:1 attempts:1\\n")
unshare(USER | MOUNT)
if libc.mount(b"/tmp/resolv.conf", b"/etc/resolv.conf", None, 4096, None):  # MS_BIND
    raise OSError(ctypes.get_errno(), "mount")
say(look_up("first.example"))
unshare(NET)
say(look_up("second.example"))
raise_lo()
say(look_up("third.example"))
""", "--connect", f"udp:{ADDRESS}:53")
    t.equal(lines, ["10.9.8.7", "not found", "not found"])
    t.check(got and all(b"first" in query for query in got), got)


def test_ping(t):
    """Of the loopback, by everybody; there is no way outside for it, whatever is granted."""
    t.need("ping")
    for options in ((), ("--user", "1000:1000")):
        done = t.cell(["/bin/sh", "-c", f"ping -qc1 127.0.0.1; ping -qc1 ::1; ping -qc1 {ADDRESS}; ping -qc1 -W1 10.1.2.3"],
                      "--connect", "udp:10.0.0.0/8:*", "--connect", f"udp:{ADDRESS}:*", *options, status=1)
        t.equal(done.out.count(b"1 packets transmitted, 1 received, 0% packet loss"), 3, done.text())
        t.equal(done.out.count(b"1 packets transmitted, 0 received, 100% packet loss"), 1, done.text())


# ---- the process outside ----

def test_device_process_killed(t):
    with cell_running(t, "say('ready')\nsys.stdin.readline()\n", "--connect", "tcp:10.0.0.0/8:1") as process:
        [pid] = devices_of(process)
        os.kill(pid, signal.SIGKILL)
        t.equal(process.wait(30), 120 if t.port == "hosted" else 124)
        err = process.stderr.read()
        name = b"the cell's network process" if t.port == "hosted" else b"cloister-vsock"
        t.check(name + b" ended by signal 9" in err, err)


def test_device_process_stands_still(t):
    """Nothing in the cell hangs but what waits for the outside, and that can be given up. On port hosted connections go on."""
    endless = t.port != "hosted"
    with server(lambda c, peer: c.sendall(read_all(c))) as port, cell_running(t, f"""
a = ("{ADDRESS}", {port})
s = socket.create_connection(a)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say("ready")
sys.stdin.readline()
s.settimeout(0.3)
sent = 0
try:
    while {endless} or sent < 1 << 20:
        sent += s.send(bytes(100000))
except TimeoutError:
    pass
say("sent", sent)
other = socket.socket()
other.settimeout(0.3)
try:
    other.connect(a)
except TimeoutError:
    say("connect timed out")
pid = os.fork()
if not pid:
    socket.create_connection(a)
time.sleep(0.2)
os.kill(pid, 15)
say(os.waitpid(pid, 0)[1])
other.close()
sys.stdin.readline()
s.settimeout(30)
s.shutdown(socket.SHUT_WR)
got = 0
while (part := s.recv(1 << 16)):
    got += len(part)
say(got == sent)
sys.stdin.readline()
""", "--connect", f"tcp:{ADDRESS}:{port}") as process:
        [pid] = devices_of(process)
        os.kill(pid, signal.SIGSTOP)
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
            sent = int(t.wait_for_line(process, b"sent").split()[1])
            t.check(0 < sent <= 16 << 20, sent)
            t.wait_for_line(process, b"timed out")
            t.wait_for_line(process, b"15")
        finally:
            os.kill(pid, signal.SIGCONT)
        process.stdin.write(b"\n")
        process.stdin.flush()
        t.wait_for_line(process, b"True")
        end(t, process)


def test_device_process_is_confined(t):
    with cell_running(t, "say('ready')\nsys.stdin.readline()\n", "--connect", "tcp:10.0.0.0/8:1") as process:
        [pid] = devices_of(process)
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            status = {name: value.strip() for name, value in (line.split(":", 1) for line in f)}
        t.equal((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        t.check(all(int(status[c], 16) == 0 for c in ("CapEff", "CapPrm", "CapInh", "CapAmb")), status)
        t.check("0" not in status["Uid"].split(), status["Uid"])
        end(t, process)
        t.check(not os.path.exists(f"/proc/{pid}"), "it outlives its cell")


def test_no_device_without_grants(t):
    with cell_running(t, "say('ready')\nsys.stdin.readline()\n") as process:
        t.equal(devices_of(process), [])
        end(t, process)


def test_launcher_killed(t):
    with cell_running(t, "say('ready')\nsys.stdin.readline()\n", "--connect", "tcp:10.0.0.0/8:1") as process:
        [pid] = devices_of(process)
        process.kill()
        process.wait()
        for _ in range(100):
            if not os.path.exists(f"/proc/{pid}"):
                return
            time.sleep(0.1)
        t.check(False, "the network process outlives its launcher")


# ---- AF_VSOCK ----

@only("x86")
def test_vsock(t):
    lines = python(t, """
import fcntl
say(struct.unpack("I", fcntl.ioctl(os.open("/dev/vsock", os.O_RDONLY), socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID, bytes(4)))[0])
l = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
l.bind((socket.VMADDR_CID_ANY, 5000))
l.listen()
say(l.getsockname()[1], error_of(socket.socket(socket.AF_VSOCK).bind, (socket.VMADDR_CID_ANY, 5000)))
for cid in 1, 3:
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.connect((cid, 5000))
    c, peer = l.accept()
    s.sendall(b"hello")
    say(c.recv(10).decode(), s.getpeername()[1], peer[0])
    s.shutdown(socket.SHUT_WR)
    say(c.recv(10))
    c.sendall(b"back")
    say(s.recv(10).decode())
say(error_of(socket.socket(socket.AF_VSOCK).connect, (1, 5001)))
say(error_of(socket.socket(socket.AF_VSOCK).connect, (2, 5001)))
say(error_of(socket.socket(socket.AF_VSOCK).connect, (2, 1)))  # the service, which is not for programs
say(error_of(socket.socket(socket.AF_VSOCK).connect, (77, 5001)))
n = socket.socket(socket.AF_VSOCK)
n.setblocking(False)
say(errno.errorcode[n.connect_ex((2, 5001))])
p = select.poll()
p.register(n, select.POLLOUT)
say(bool(p.poll(10000)[0][1] & select.POLLERR), errno.errorcode[n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
say(n.getsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE))
""", "--connect", "tcp:10.0.0.0/8:1")
    t.equal(lines, ["3", "5000 EADDRINUSE", "hello 5000 1", "b''", "back", "hello 5000 1", "b''", "back", "ECONNRESET",
                    "ECONNRESET", "ECONNRESET", "ENETUNREACH", "EINPROGRESS", "True ECONNRESET", "262144"])


def test_vsock_without_a_device(t):
    lines = python(t, """
say(error_of(socket.socket(socket.AF_VSOCK).connect, (2, 5001)))
say(error_of(socket.socket, socket.AF_VSOCK, socket.SOCK_DGRAM))
""")
    t.equal(lines, ["ENODEV", "ESOCKTNOSUPPORT"])

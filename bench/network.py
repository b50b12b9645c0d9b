# SPDX-License-Identifier: Apache-2.0
"""TCP between a guest and a server on the host's loopback: what the server does, and what the guest runs.

A connection begins with one byte: r: the server sends SIZE bytes; s: it reads to the end, then says k; p: it echoes."""
import socket
import threading

SIZE = 64 << 20

CLIENT = """
import select, socket, statistics, sys, time
def connect(mode):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(mode)
    return s
def show(name, seconds):
    print(name, int(seconds * 1e9))
def receive():
    s, n = connect(b"r"), 0
    while (part := s.recv(1 << 18)):
        n += len(part)
    assert n == %(size)d
def send():
    s, data = connect(b"s"), bytes(1 << 18)
    for _ in range(%(size)d >> 18):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b"k"
def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start
timed(receive)
show("net_receive", timed(receive))
show("net_send", timed(send))
s = connect(b"p")
show("net_ping", statistics.median(timed(lambda: (s.sendall(b"x"), s.recv(1))) for _ in range(1000)))
s.setblocking(False)
e = select.epoll()
e.register(s, select.EPOLLIN)
show("net_epoll", statistics.median(timed(lambda: (s.send(b"x"), e.poll(), s.recv(1))) for _ in range(1000)))
show("net_connect", statistics.median(timed(lambda: (c := connect(b"p"), c.sendall(b"x"), c.recv(1), c.close())) for _ in range(100)))
""" % {"size": SIZE}


class Server:
    """Serves until it is closed; `port` on 127.0.0.1."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._loop, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _loop(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection):
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            mode = connection.recv(1)
            try:
                if mode == b"r":
                    connection.sendall(bytes(SIZE))
                elif mode == b"s":
                    while connection.recv(1 << 20):
                        pass
                    connection.sendall(b"k")
                else:
                    while (part := connection.recv(4096)):
                        connection.sendall(part)
            except OSError:
                pass

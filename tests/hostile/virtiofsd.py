#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""In place of virtiofsd: a file server that lies. Trees without a file .hostile ("SEED HABIT") get the real virtiofsd, which stands beside
this program.

HABIT: lie (answers of the right form, wrong contents), ring (breaks the virtqueue protocol), silent (stops answering), late."""
import os
import random
import socket
import stat
import struct
import sys
import zlib

import vhost

TREE = "/tmp/root"  # where the launcher hangs it
LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = (
    1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
INIT, OPENDIR, READDIR, CREATE, INTERRUPT, BATCH_FORGET, READDIRPLUS, LSEEK, COPY = 26, 27, 28, 35, 36, 42, 44, 46, 47
ENTRIES = (LOOKUP, SYMLINK, MKNOD, MKDIR, LINK)


class FileServer(vhost.Backend):
    def __init__(self, connection, seed, habit):
        super().__init__(connection, 8, random.Random(seed))
        self.habit = habit
        self.honest = self.random.randrange(4, 60)  # how many requests it behaves for
        self.late = []

    # ---- plausible answers ----

    def attributes(self, node):
        r = random.Random(node)
        kind = stat.S_IFDIR if node == 1 else r.choice((stat.S_IFDIR, stat.S_IFREG, stat.S_IFREG, stat.S_IFLNK))
        return struct.pack("<6Q10I", node, r.randrange(1 << 18), 8, 0, 0, 0, 0, 0, 0, kind | 0o777, 1, 0, 0, 0, 4096, 0)

    def entry(self, node):
        return struct.pack("<4Q2I", node, 0, self.random.choice((0, 1)), self.random.choice((0, 1)), 0, 0) + self.attributes(node)

    def names(self, plus, size):
        answer = b""
        for i in range(self.random.randrange(1, 20)):
            name = b"name%d" % i
            record = struct.pack("<QQII", 2 + i, i + 1, len(name), 0) + name
            if plus:
                record = self.entry(2 + i) + record
            record += bytes(-len(record) % 8)
            if len(answer) + len(record) > size:
                break
            answer += record
        return answer

    def plausible(self, opcode, node, arguments):
        r = self.random
        if opcode == INIT:
            return struct.pack("<4I2H2I2HI7I", 7, 36, 1 << 20, 1 << 0 | 1 << 5 | 1 << 13 | 1 << 16 | 1 << 22, 12, 9, 1 << 20, 1, 256, 0,
                               0, *(0,) * 7)
        if opcode in ENTRIES:
            return self.entry(2 + zlib.crc32(arguments) % 40)
        if opcode == CREATE:
            return self.entry(2 + r.randrange(40)) + struct.pack("<QII", r.getrandbits(32), 0, 0)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", r.choice((0, 1)), 0, 0) + self.attributes(node)
        if opcode == READLINK:
            return r.choice((b"name1", b"../name2", b"/", b"name%d" % r.randrange(20)))
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", r.getrandbits(32), r.getrandbits(4), 0)
        if opcode == READ:
            return r.randbytes(min(struct.unpack_from("<QQI", arguments)[2], 1 << 16))
        if opcode in (WRITE, COPY):
            return struct.pack("<II", struct.unpack_from("<QQI", arguments)[2], 0)
        if opcode in (READDIR, READDIRPLUS):
            _, offset, size = struct.unpack_from("<QQI", arguments)
            return self.names(opcode == READDIRPLUS, size) if not offset else b""
        if opcode == STATFS:
            return struct.pack("<5Q4I6I", 1000, 500, 500, 100, 50, 4096, 255, 4096, 0, *(0,) * 6)
        if opcode == LSEEK:
            return struct.pack("<Q", r.randrange(1 << 20))
        return b""

    # ---- lies ----

    def lie(self, unique, payload, room):
        r = self.random
        error = 0
        what = r.randrange(12)
        if what == 0:
            payload = r.randbytes(r.randrange(max(room - 16, 1)))
        elif what == 1:
            payload = payload[:r.randrange(len(payload) + 1)]
        elif what < 6 and payload:
            changed = bytearray(payload)
            for _ in range(r.choice((1, 1, 4, 30))):
                changed[r.randrange(len(changed))] = r.choice((0, 1, 0x7f, 0x80, 0xff, r.randrange(256)))
            payload = bytes(changed)
        elif what == 6:
            error = r.choice((-2, -5, -4, -11, -12, -23, -24, -38, -116, 1, -511, -512, -4096, -(1 << 31)))
        elif what == 7:
            unique = r.choice((0, unique + 2, r.getrandbits(64)))
        elif what == 8:
            payload += bytes(8)
        length = 16 + len(payload)
        if what == 9:
            length = r.choice((0, 8, 15, length + 1, 1 << 31))
        return struct.pack("<IiQ", length & 0xffffffff, error, unique & (1 << 64) - 1) + payload

    def answer(self, ring, request):
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request.data)
        self.honest -= 1
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT) and self.honest > 0:
            self.complete(ring, request, b"")
            return
        payload = self.plausible(opcode, node, request.data[40:])
        honest = struct.pack("<IiQ", 16 + len(payload), 0, unique) + payload
        if self.honest > 0 or (self.habit != "silent" and self.random.randrange(3) == 0):
            self.complete(ring, request, honest)
        elif self.habit == "ring" and self.random.randrange(4) == 0:
            self.spoil(ring, request)
        elif self.habit == "silent":
            pass
        elif self.habit == "late":
            self.late.append((ring, request, honest))
            self.random.shuffle(self.late)
        else:
            data = self.lie(unique, payload, request.room_bytes)
            self.complete(ring, request, data)

    def tick(self):
        while self.late and self.random.randrange(3):
            self.complete(*self.late.pop())


def main():
    try:
        with open(TREE + "/.hostile") as f:
            seed, habit = f.read().split()
    except OSError:
        os.execv(os.path.join(os.path.dirname(__file__), "real"), sys.argv)
    fd = next(int(a[5:]) for a in sys.argv if a.startswith("--fd="))
    connection, _ = socket.socket(fileno=fd).accept()
    FileServer(connection, int(seed), habit).serve()


main()

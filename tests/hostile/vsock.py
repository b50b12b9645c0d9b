# SPDX-License-Identifier: Apache-2.0
"""In place of cloister-vsock: a network that sends any packet at any time. Arguments: SEED HABIT and what the launcher gives.

HABIT: lie (packets of the right form, wrong contents), ring (breaks the virtqueue protocol), silent (stops answering)."""
import random
import socket
import struct
import sys

import vhost

CID, HOST = 3, 2
INVALID, REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(8)
HEADER = "<QQIIIHHIII"
HEADER_BYTES = struct.calcsize(HEADER)


class Network(vhost.Backend):
    def __init__(self, connection, seed, habit):
        super().__init__(connection, 2, random.Random(seed), struct.pack("<Q", CID))
        self.habit = habit
        self.honest = self.random.randrange(2, 40)
        self.buffers = []  # of the cell, for what it receives
        self.seen = []     # (cell's port, host's port)
        self.taken = {}    # by the cell's port: bytes of its stream

    def send(self, operation, cell, host, data=b"", length=None, kind=1, flags=0, room=1 << 16, taken=0, cid=CID):
        if self.buffers:
            length = len(data) if length is None else length
            self.complete(self.rings[0], self.buffers.pop(0),
                          struct.pack(HEADER, HOST, cid, host, cell, length, kind, operation, flags, room, taken) + data)

    def anything(self):
        r = self.random
        cell, host = r.choice(self.seen + [(1, 1), (r.getrandbits(32), r.getrandbits(32))])
        data = r.randbytes(r.choice((0, 1, 40, 4000)))
        self.send(r.choice((*range(8), r.getrandbits(16))), cell, host, data, r.choice((None, None, 0, 5, 1 << 31, 0xffffffff)),
                  r.choice((1, 1, 1, 0, 2, 0xffff)), r.choice((0, 1, 2, 3, 0xffffffff)), r.choice((0, 1, 1 << 16, 0xffffffff)),
                  r.choice((0, 1, 1 << 20, 0xffffffff)), r.choice((CID, CID, CID, 0, r.getrandbits(64))))

    def answer(self, ring, request):
        if ring is self.rings[0]:
            self.buffers.append(request)
            return
        self.honest -= 1
        if self.honest <= 0 and self.habit == "silent":
            return
        if self.honest <= 0 and self.habit == "ring" and self.random.randrange(3) == 0:
            if self.buffers and self.random.randrange(2):
                self.spoil(self.rings[0], self.buffers.pop())
            else:
                self.spoil(ring, request)
            return
        self.complete(ring, request, b"")
        _, _, cell, host, length, _, operation, *_ = struct.unpack_from(HEADER, request.data)
        self.seen = [*self.seen[-20:], (cell, host)]
        if self.honest <= 0:
            for _ in range(self.random.randrange(4)):
                self.anything()
        elif operation == REQUEST:
            self.send(RESPONSE, cell, host)
        elif operation == RW:
            # The first is the request (abi/outside.h), answered with "done"; the rest comes back.
            data = request.data[HEADER_BYTES:][:length] if cell in self.taken else bytes(48)
            self.taken[cell] = self.taken.get(cell, 0) + length
            self.send(RW, cell, host, data, taken=self.taken[cell])
        elif operation == SHUTDOWN:
            self.send(RST, cell, host)

    def tick(self):
        if self.honest <= 0 and self.habit == "lie":
            self.anything()


Network(socket.socket(fileno=int(sys.argv[3])), int(sys.argv[1]), sys.argv[2]).serve()

# SPDX-License-Identifier: Apache-2.0
"""A vhost-user back end that keeps no rule: the conversation with QEMU, split rings, and what can be done wrong with them.

The two devices beside this file say what is in the buffers. Everything random comes from one seed. Specifications: QEMU's
docs/interop/vhost-user.rst; VIRTIO 1.2, section 2.7."""
import array
import mmap
import os
import select
import socket
import struct
import time

GET_FEATURES, SET_FEATURES, SET_MEM_TABLE = 1, 2, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = range(8, 15)
GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_CONFIG = 15, 17, 24
F_VERSION_1, F_PROTOCOL, F_INDIRECT, F_EVENT = 1 << 32, 1 << 30, 1 << 28, 1 << 29
PROTOCOL_MQ, PROTOCOL_CONFIG = 1 << 0, 1 << 9
REPLY = 1 | 4

DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4



class Memory:
    """The cell's memory as QEMU told us of it: (address of the cell, size, address in QEMU, mapping)."""

    def __init__(self):
        self.regions = []

    def view(self, address, size, user=False):
        for guest, length, qemu, view in self.regions:
            start = address - (qemu if user else guest)
            if 0 <= start and start + size <= length:
                return view[start:start + size]
        raise ValueError("not in memory")


class Request:
    def __init__(self, head, out, room):
        self.head = head
        self.out = out    # views of what we may read
        self.room = room  # and of what we may write
        self.data = b"".join(bytes(v) for v in out)
        self.room_bytes = sum(len(v) for v in room)

    def write(self, data):
        """Puts data into the room as far as it goes."""
        for view in self.room:
            part = data[:len(view)]
            view[:len(part)] = part
            data = data[len(view):]


class Ring:
    def __init__(self, memory):
        self.memory = memory
        self.size = self.next_avail = self.next_used = 0
        self.kick = self.call = -1
        self.ready = False

    def place(self, descriptors, used, avail):
        self.descriptors = self.memory.view(descriptors, 16 * self.size, True)
        self.avail = self.memory.view(avail, 4 + 2 * self.size, True)
        self.used = self.memory.view(used, 4 + 8 * self.size, True)
        # The indices of how far each side is, in one access: struct reads and writes a byte at a time.
        self.avail_index = self.avail[:4].cast("H")
        self.used_index = self.used[:4].cast("H")
        self.next_used = self.used_index[1]
        self.ready = True

    def chain(self, table, index, out, room):
        for _ in range(len(table) // 16):
            address, size, flags, following = struct.unpack_from("<QIHH", table, 16 * index)
            view = self.memory.view(address, size)
            if flags & DESC_INDIRECT:
                self.chain(view, 0, out, room)
            else:
                (room if flags & DESC_WRITE else out).append(view)
            if not flags & DESC_NEXT:
                return
            index = following

    def pop(self):
        if not self.ready or self.avail_index[1] == self.next_avail:
            return None
        head = struct.unpack_from("<H", self.avail, 4 + 2 * (self.next_avail % self.size))[0]
        self.next_avail = (self.next_avail + 1) & 0xffff
        out, room = [], []
        self.chain(self.descriptors, head, out, room)
        return Request(head, out, room)

    def push(self, head, written):
        struct.pack_into("<II", self.used, 4 + 8 * (self.next_used % self.size), head & 0xffffffff, written & 0xffffffff)
        self.jump(1)

    def jump(self, count):
        self.next_used = (self.next_used + count) & 0xffff
        self.used_index[1] = self.next_used

    def interrupt(self):
        if self.call >= 0:
            os.write(self.call, struct.pack("<Q", 1))


class Backend:
    """serve() until the machine is gone. A device has answer(ring, request) and tick(), called ten times a second."""

    def __init__(self, connection, rings, random, config=b""):
        self.connection = connection
        self.memory = Memory()
        self.rings = [Ring(self.memory) for _ in range(rings)]
        self.random = random
        self.config = config

    # ---- the conversation ----

    def message(self):
        head, ancillary, _, _ = self.connection.recvmsg(12, socket.CMSG_SPACE(8 * 4))
        if len(head) < 12:
            return False
        request, _, size = struct.unpack("<III", head)
        body = self.connection.recv(size, socket.MSG_WAITALL) if size else b""
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data)
        answer = self.handle(request, body, list(fds))
        if answer is not None:
            self.connection.sendall(struct.pack("<III", request, REPLY, len(answer)) + answer)
        return True

    def handle(self, request, body, fds):
        number = struct.unpack_from("<Q", body.ljust(8, b"\0"))[0]
        index, value = number & 0xffffffff, number >> 32
        ring = self.rings[index & 0xff if request >= SET_VRING_KICK else index] \
            if SET_VRING_NUM <= request <= SET_VRING_ERR and index & 0xff < len(self.rings) else None
        if request == GET_FEATURES:
            return struct.pack("<Q", F_VERSION_1 | F_PROTOCOL | F_INDIRECT)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_MQ | (PROTOCOL_CONFIG if self.config else 0))
        if request == GET_QUEUE_NUM:
            return struct.pack("<Q", len(self.rings))
        if request == GET_CONFIG:
            offset, size, flags = struct.unpack_from("<III", body)
            return body[:12] + self.config.ljust(offset + size, b"\0")[offset:offset + size]
        if request == SET_MEM_TABLE:
            self.map(body, fds)
        elif ring and request == SET_VRING_NUM:
            ring.size = value
        elif ring and request == SET_VRING_ADDR:
            _, _, descriptors, used, avail, _ = struct.unpack_from("<IIQQQQ", body)
            ring.place(descriptors, used, avail)
        elif ring and request == SET_VRING_BASE:
            ring.next_avail = value
        elif ring and request == GET_VRING_BASE:
            ring.ready = False
            return struct.pack("<II", index, ring.next_avail)
        elif ring and request == SET_VRING_KICK:
            ring.kick = fds.pop() if fds else -1
        elif ring and request == SET_VRING_CALL:
            ring.call = fds.pop() if fds else -1
        for fd in fds:
            os.close(fd)
        return None

    def map(self, body, fds):
        count = struct.unpack_from("<I", body)[0]
        self.memory.regions = []
        for i in range(count):
            guest, size, user, offset = struct.unpack_from("<QQQQ", body, 8 + 32 * i)
            view = memoryview(mmap.mmap(fds[i], offset + size))[offset:]
            self.memory.regions.append((guest, size, user, view))

    # ---- the loop ----

    def serve(self):
        while True:
            kicks = {r.kick: r for r in self.rings if r.kick >= 0}
            ready, _, _ = select.select([self.connection, *kicks], [], [], 0.1)
            for fd in ready:
                if fd is self.connection:
                    if not self.message():
                        return
                elif fd in kicks:
                    os.read(fd, 8)
            try:
                for ring in self.rings:
                    while (request := ring.pop()):
                        self.answer(ring, request)
                self.tick()
            except (ValueError, IndexError, struct.error):  # we spoilt the ring ourselves
                time.sleep(0.01)

    # ---- what is wrong with a ring ----

    def complete(self, ring, request, data):
        """As it should be."""
        request.write(data)
        ring.push(request.head, min(len(data), request.room_bytes))
        ring.interrupt()

    def spoil(self, ring, request):
        """One thing that no driver may survive unharmed, or not notice."""
        r = self.random
        what = r.randrange(8)
        if what == 0:
            ring.push(r.choice((ring.size, 0xffff, 0xffffffff, r.randrange(ring.size))), 0)
        elif what == 1:
            ring.push(request.head, request.room_bytes + r.choice((1, 4096, 1 << 31)))
        elif what == 2:
            for _ in range(2):
                ring.push(request.head, 0)
        elif what == 3:
            ring.jump(r.choice((1, 2, ring.size, 0x8000, 0xffff)))
        elif what == 4:  # chains that lead nowhere and in circles
            for i in range(ring.size):
                struct.pack_into("<QIHH", ring.descriptors, 16 * i, r.getrandbits(64), r.getrandbits(32), r.getrandbits(3),
                                 r.choice((i, 0, 0xffff)))
            ring.push(request.head, 0)
        elif what == 5:
            for view in (ring.avail, ring.used):
                view[:] = r.randbytes(len(view))
        elif what == 6:
            for view in request.out:
                view[:] = r.randbytes(len(view))
            ring.push(request.head, r.randrange(request.room_bytes + 1))
        else:
            for _ in range(1000):
                ring.interrupt()
            ring.push(request.head, 0)
        ring.interrupt()

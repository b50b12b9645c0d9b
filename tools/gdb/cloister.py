# SPDX-License-Identifier: Apache-2.0
"""GDB helpers for Cloister's kernel: cloister-tasks, cloister-maps [PID], cloister-fds [PID],
cloister-tables [PID], cloister-virtqueues, cloister-symbols [SLIDE]; for port hosted cloister-attach PID and
cloister-program.

Sourced by `./dev gdb`. They read the kernel's lists without locks: stop the cell first, and believe what they say only
as far as the kernel was not in the middle of changing it."""
import os
import re
import struct

import gdb
import gdb.unwinder


def container(pointer, type_name, member):
    kind = gdb.lookup_type(type_name)
    offset = next(f.bitpos // 8 for f in kind.fields() if f.name == member)
    return (pointer.cast(gdb.lookup_type("char").pointer()) - offset).cast(kind.pointer())


def list_entries(head, type_name, member, limit=100000):
    node = head["next"]
    while node != head.address and int(node) and limit:
        yield container(node, type_name, member)
        node = node["next"]
        limit -= 1


def processes():
    yield from list_entries(gdb.parse_and_eval("process_list"), "struct process", "node")


def find_process(pid):
    for process in processes():
        if int(process["pid"]) == pid:
            return process
    raise gdb.GdbError(f"no process {pid} (cloister-tasks lists them)")


def threads(process):
    yield from list_entries(process["threads"], "struct task", "thread_node")


def state_name(task):
    value = int(task["sched"]["state"])
    try:
        for field in gdb.lookup_type("enum sched_state").fields():
            if field.enumval == value:
                return field.name.removeprefix("TASK_").removeprefix("SCHED_").lower()
    except gdb.error:
        pass
    return str(value)


class Tasks(gdb.Command):
    """cloister-tasks: every process and thread, what state it is in and on which CPU it ran last."""

    def __init__(self):
        super().__init__("cloister-tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        print(f"{'PID':>6} {'TID':>6} {'PPID':>6} {'CPU':>3} {'STATE':10} {'CPU ms':>9} {'TASK':18} NAME")
        for process in processes():
            zombie = " (zombie)" if process["zombie"] else ""
            for task in threads(process):
                sched = task["sched"]
                print(f"{int(process['pid']):6} {int(task['tid']):6} {int(process['parent_pid']):6} {int(sched['cpu']):3} "
                      f"{state_name(task):10} {int(sched['cpu_time_ns']) / 1e6:9.1f} {int(task):#18x} "
                      f"{task['comm'].string()}{zombie}")


def walk_tree(node):
    if not int(node):
        return
    yield from walk_tree(node["left"])
    yield node
    yield from walk_tree(node["right"])


class Maps(gdb.Command):
    """cloister-maps [PID]: the mappings of a process (default: pid 1), as /proc/PID/maps has them."""

    def __init__(self):
        super().__init__("cloister-maps", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        process = find_process(int(argument or 1))
        mm = process["leader"]["mm"]
        if not int(mm):
            raise gdb.GdbError("it has no address space (a zombie, or a kernel task)")
        for node in walk_tree(mm["vmas"]["node"]):
            vma = container(node, "struct vma", "node").dereference()
            flags = int(vma["flags"])
            prot = "".join(c if flags >> i & 1 else "-" for i, c in enumerate("rwx"))
            name = vma["name"].string() if int(vma["name"]) else ""
            if int(vma["file"]):
                name = path_of(vma["file"])
            print(f"{int(vma['start']):016x}-{int(vma['end']):016x} {prot} flags {flags:#06x} page {int(vma['object_page']):6x} {name}")


def path_of(file):
    dentry, parts = file["path"]["dentry"], []
    while int(dentry) and int(dentry["parent"]) and dentry["parent"] != dentry and len(parts) < 64:
        parts.append(dentry["name"].string())
        dentry = dentry["parent"]
    if not parts and int(dentry):
        return dentry["name"].string() or "/"
    return "/" + "/".join(reversed(parts))


class Files(gdb.Command):
    """cloister-fds [PID]: the open descriptors of a process (default: pid 1)."""

    def __init__(self):
        super().__init__("cloister-fds", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        files = find_process(int(argument or 1))["leader"]["files"]
        if not int(files):
            raise gdb.GdbError("it has no descriptors (a zombie, or a kernel task)")
        for fd in range(int(files["capacity"])):
            file = files["slots"][fd]
            if int(file):
                print(f"{fd:4} {int(file):#18x} flags {int(file['flags']):#o} position {int(file['position'])} {path_of(file)}")


class Tables(gdb.Command):
    """cloister-tables [PID]: page tables (x86), merged: the kernel's, or the program's half of a process."""

    def __init__(self):
        super().__init__("cloister-tables", gdb.COMMAND_STATUS)

    def entries(self, frame, level, base):
        """(virtual address, size, flags) of every leaf below a table; flags as the CPU combines them."""
        memory = gdb.selected_inferior().read_memory(self.direct + frame, 4096)
        size = 1 << (12 + 9 * level)
        for i, entry in enumerate(struct.unpack("<512Q", bytes(memory))):
            if not entry & 1:
                continue
            at = base + i * size
            if level == 3 and i >= 256:
                at |= 0xffff << 48
            flags = (bool(entry & 2), bool(entry & 4), not entry >> 63)
            if level == 0 or (entry & 0x80 and level < 3):
                yield at, size, flags
                continue
            for va, bytes_, below in self.entries(entry & 0x000ffffffffff000, level - 1, at):
                yield va, bytes_, tuple(a and b for a, b in zip(flags, below))

    def invoke(self, argument, from_tty):
        self.direct = int(gdb.parse_and_eval("x86_direct_base"))
        root = gdb.parse_and_eval("x86_kernel_pml4")
        if argument:
            root = find_process(int(argument))["leader"]["mm"]["aspace"]["pml4"]
        start = end = 0
        last = None
        for va, size, flags in list(self.entries(int(root) - self.direct, 3, 0)) + [(0, 0, None)]:
            if (va >= 1 << 47) == bool(argument) and flags:
                continue
            if flags == last and va == end:
                end += size
                continue
            if last:
                write, user, execute = last
                print(f"{start:016x}-{end:016x} {'u' if user else 'k'}r{'w' if write else '-'}{'x' if execute else '-'}")
            start, end, last = va, va + size, flags


class Virtqueues(gdb.Command):
    """cloister-virtqueues: every virtio device with its queues: size, free descriptors, requests in flight."""

    def __init__(self):
        super().__init__("cloister-virtqueues", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        device = gdb.parse_and_eval("virtio_devices")
        while int(device):
            print(f"device id {int(device['device_id'])} features {int(device['features']):#x}{' DEAD' if device['dead'] else ''}")
            for i in range(int(device["queue_count"])):
                q = device["queues"][i]
                if int(q):
                    kind = "packed" if q["config"]["packed"] else "split"
                    print(f"  queue {i:2} {kind} size {int(q['config']['size'])} free {int(q['free_count'])} "
                          f"in flight {int(q['in_flight'])}{' BROKEN' if q['broken'] else ''}")
            device = device["next"]


class Symbols(gdb.Command):
    """cloister-symbols SLIDE: load the kernel's symbols at a slide (printed in a panic), for a cell with address-space
    randomisation. Without it they stand where the kernel is linked."""

    def __init__(self):
        super().__init__("cloister-symbols", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        if not argument:
            return
        name = gdb.current_progspace().filename
        gdb.execute("symbol-file")
        gdb.execute(f"symbol-file -o {int(argument, 0):#x} {name}")


# ---- port hosted ----

KERNEL_IMAGE = "cloister-hosted.img"


def host_maps(pid):
    """(start, permissions, offset, path) of each file mapping of a host process."""
    with open(f"/proc/{pid}/maps") as f:
        for line in f:
            found = re.match(r"([0-9a-f]+)-[0-9a-f]+ (\S+) ([0-9a-f]+) \S+ \d+\s+(/.*)", line)
            if found:
                yield int(found[1], 16), found[2], int(found[3], 16), found[4].removesuffix(" (deleted)")


def executable_segment(path):
    """(file offset, address) of an ELF file's first executable segment, each rounded down to a page."""
    with open(path, "rb") as f:
        head = f.read(64)
        if head[:5] != b"\x7fELF\x02":
            return None
        start, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        for i in range(count):
            f.seek(start + i * size)
            kind, flags, offset, address = struct.unpack_from("<IIQQ", f.read(56))
            if kind == 1 and flags & 1:
                return offset & ~4095, address & ~4095
    return None


def kernel_start(pid):
    """Where a host process has the kernel's text; None when it is none of a cell's."""
    return next((start for start, rights, _, path in host_maps(pid)
                 if "x" in rights and os.path.basename(path) == KERNEL_IMAGE), None)


def below(pid):
    """A host process and all its descendants."""
    yield pid
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as f:
                for child in f.read().split():
                    yield from below(int(child))
    except OSError:
        pass


class Attach(gdb.Command):
    """cloister-attach PID: attach to the processes of the hosted cell of the launcher PID (all that are not attached yet),
    each an inferior of its own, with the kernel's symbols. Without PID: the launcher named before."""

    launcher = None

    def __init__(self):
        super().__init__("cloister-attach", gdb.COMMAND_RUNNING)

    def attach(self, pid, start, elf):
        if gdb.selected_inferior().pid:
            gdb.execute("add-inferior", to_string=True)
            gdb.execute(f"inferior {max(i.num for i in gdb.inferiors())}", to_string=True)
        # Or GDB looks for a dynamic loader in the launcher, whose file the process was made from.
        gdb.execute("set exec-file-mismatch off", to_string=True)
        gdb.execute(f"exec-file {elf}", to_string=True)
        gdb.execute(f"attach {pid}", to_string=True)
        gdb.execute(f"symbol-file -o {start - executable_segment(elf)[1]:#x} {elf}", to_string=True)

    def invoke(self, argument, from_tty):
        if argument:
            Attach.launcher = int(argument)
        if not Attach.launcher:
            raise gdb.GdbError("whose? cloister-attach PID-OF-LAUNCHER")
        elf = os.environ.get("CLOISTER_HOSTED_ELF")
        if not elf:
            raise gdb.GdbError("CLOISTER_HOSTED_ELF does not name the kernel's ELF file")
        known = {i.pid for i in gdb.inferiors()}
        for pid in below(Attach.launcher):
            start = kernel_start(pid)
            if start is None or pid in known:
                continue
            self.attach(pid, start, elf)
            print(f"inferior {gdb.selected_inferior().num}: process {pid}")


class Program(gdb.Command):
    """cloister-program: load the symbols of the program and the libraries that the selected inferior of a hosted cell has
    mapped. Files are looked for on the host under the names they have there."""

    def __init__(self):
        super().__init__("cloister-program", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        seen = set()
        for start, rights, offset, path in host_maps(gdb.selected_inferior().pid):
            if "x" not in rights or path in seen or os.path.basename(path) == KERNEL_IMAGE:
                continue
            seen.add(path)
            # The host names a file as the broker saw it: below the place where it had the granted tree.
            place = next((p for p in (path, re.sub("^/[^/]+", "", path)) if os.path.isfile(p)), None)
            segment = place and executable_segment(place)
            if segment:
                gdb.execute(f"add-symbol-file {place} -o {start - offset + segment[0] - segment[1]:#x}", to_string=True)
                print(place)


class EntryUnwinder(gdb.unwinder.Unwinder):
    """The caller of the kernel's entry code is the program: its registers stand at the top of the task's kernel stack."""

    class Id:
        def __init__(self, sp, pc):
            self.sp, self.pc = sp, pc

    NAMES = {"rip": "ip", "rsp": "sp", "rbp": "bp", "rbx": "bx", "r12": "r12", "r13": "r13", "r14": "r14", "r15": "r15",
             "rax": "ax", "rcx": "cx", "rdx": "dx", "rsi": "si", "rdi": "di", "r8": "r8", "r9": "r9", "r10": "r10", "r11": "r11"}

    def __init__(self):
        super().__init__("cloister-entry")

    def __call__(self, pending):
        pc = int(pending.read_register("rip"))
        name = gdb.execute(f"info symbol {pc:#x}", to_string=True).split(" ")[0]
        if not re.match(r"hosted_(entry\w*|leave\w*|again\w*|trap_main)$|leave_\w+$", name):
            return None
        task = int(pending.read_register("gs_base"))
        kind = gdb.lookup_type("struct user_regs")
        regs = gdb.Value(task - kind.sizeof).cast(kind.pointer()).dereference()
        info = pending.create_unwind_info(self.Id(pending.read_register("rsp"), pending.read_register("rip")))
        long_type = gdb.lookup_type("unsigned long")
        for register, field in self.NAMES.items():
            info.add_saved_register(register, regs[field].cast(long_type))
        return info


gdb.unwinder.register_unwinder(None, EntryUnwinder(), replace=True)

for command in (Tasks, Maps, Files, Tables, Virtqueues, Symbols, Attach, Program):
    command()

# SPDX-License-Identifier: Apache-2.0
"""What only the x86 port has: the PVH entry, kernel page protections, the debugger."""
import os
import re
import subprocess
import tempfile
import time

from harness import common

PORTS = ("x86",)

QEMU = "/usr/bin/qemu-system-x86_64"


def kernel(t, name):
    return os.path.join(t.arguments.kernel_build or common.BUILD, "port", "x86", name)


def test_pvh_entry_starts_the_kernel(t):
    """`qemu -kernel`: the kernel finds the machine and the record (here none worth the name) by itself and says so."""
    t.need(QEMU)
    record = os.path.join(t.scratch, "record")
    with open(record, "wb") as f:
        f.write(b"no boot record" * 8)
    for how in (["-initrd", record], ["-fw_cfg", f"name=opt/cloister/boot,file={record}"]):
        done = common.command([QEMU, "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256M", "-nodefaults", "-display", "none",
                               "-no-reboot", "-kernel", kernel(t, "cloister.img"), "-debugcon", "stdio", "-device",
                               "isa-debug-exit,iobase=0xf4,iosize=4", *how], 60 * t.arguments.slow)
        t.equal(done.status, 0x12 << 1 | 1, done.text())  # MACHINE_EXIT_BOOT
        t.check(b"boot record" in done.out, done.text())


def debugged_cell(t, program, commands):
    """Runs GDB's commands on a cell that was stopped before its first instruction; what GDB printed."""
    t.need("/usr/bin/gdb")
    with tempfile.TemporaryDirectory(prefix="cloister-gdb-") as directory:
        socket = os.path.join(directory, "socket")
        cell = t.start(program, "--gdb", socket, "--no-aslr")
        try:
            for _ in range(200):
                if os.path.exists(socket):
                    break
                time.sleep(0.05)
            arguments = ["gdb", "-q", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off", "-ex",
                         f"file {kernel(t, 'cloister.elf')}", "-x", os.path.join(common.TOP, "tools", "gdb", "cloister.py"),
                         "-ex", f"target remote {socket}"]
            for command in commands:
                arguments += ["-ex", command]
            done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=120 * t.arguments.slow)
            return done.stdout
        finally:
            common.stop(cell)
            cell.communicate()


STOP_IN_SLEEP = ["hbreak sys_clock_nanosleep", "continue", "delete"]


def test_memory_is_writable_or_executable_never_both(t):
    text = debugged_cell(t, ["/bin/sleep", "100"], STOP_IN_SLEEP + ["cloister-tables", "cloister-tables 1"])
    pages = re.findall(r"^([0-9a-f]{16})-[0-9a-f]{16} ([uk])(r[w-][x-])$", text, re.M)
    high, low = [p for p in pages if p[0] >= "8"], [p for p in pages if p[0] < "8"]
    t.check(len(high) > 5 and len(low) > 5, text[-3000:])
    t.equal([p for p in pages if p[2] == "rwx"], [])
    t.equal([p for p in high if p[1] == "u"], [], "the program reaches into the kernel")
    t.equal([p for p in low if p[1] == "k"], [])
    t.equal(len([p for p in high if p[2] == "r-x"]), 1, "one piece of kernel code, and no alias of it", high)


def test_debugger_helpers(t):
    text = debugged_cell(t, ["/bin/sleep", "100"],
                         STOP_IN_SLEEP + ["backtrace", "cloister-tasks", "cloister-maps 1", "cloister-fds 1", "cloister-virtqueues"])
    for part in ("kernel_upcall_syscall", "x86_syscall_entry", " sleep\n", "libc.so.6", "[vdso]", "queue  0"):
        t.check(part in text, part, text[-3000:])

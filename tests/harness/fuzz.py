# SPDX-License-Identifier: Apache-2.0
"""The fuzzers: every parser that reads what someone else wrote, under libFuzzer, ASan and UBSan."""
import concurrent.futures
import glob
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time

from . import common
from .common import FAIL, PASS, SKIP, Result

KERNEL = ["-Itests/unit/include", "-Ikernel/include", "-Iport/include", "-Ilib/include", "-Iabi/include",
          "-DCLOISTER_UNIT_TEST=1", "-DCLOISTER_DEBUG=1", '-DCLOISTER_VERSION="fuzz"']
HOST = ["-Ihost", "-Ilib/include", "-Iabi/include", "-D_GNU_SOURCE", '-DCLOISTER_VERSION="fuzz"',
        '-DCLOISTER_LIBDIR="/nonexistent"']

# Name: (flags, sources under test, longest input).
FUZZERS = {
    "elf": (KERNEL, ["lib/elf.c"], 4096),
    "boot_record": (KERNEL, ["kernel/core/boot_record.c", "lib/sha256.c"], 4096),
    "fuse_codec": (KERNEL + ["-Idrivers/fs"], ["drivers/fs/codec.c"], 4096),
    "broker_answers": (KERNEL + ["-Idrivers/fs", "-Idrivers", "-Ikernel/vfs", "-Ikernel/include/freestanding", "-ffreestanding",
                                 "-DPORT_HOST=1"],
                       [f"drivers/fs/{f}.c" for f in "codec dir handle inode mount path readdir request xattr attr_host broker own "
                        "passthrough walk watch window ahead names".split()] +
                       [f"kernel/vfs/{f}.c" for f in "attr dentry fcntl fdtable file fs_context inode ioctl iov lease lock lookup mount "
                         "mount_calls mount_detached mount_tree "
                        "namei open read_write readdir rename seq stat super sync xattr".split()] +
                       [f"kernel/fs/tmpfs/{f}.c" for f in "directory file super xattr".split()] +
                       [f"kernel/ipc/{f}.c" for f in "fsnotify inotify dnotify pipe splice".split()] +
                       [f"lib/{f}.c" for f in "bitmap fmt radix text".split()], 16384),
    "virtqueue": (KERNEL + ["-Idrivers/virtio"],
                  ["drivers/virtio/virtqueue.c", "drivers/virtio/split.c", "drivers/virtio/packed.c"], 1024),
    "virtio_pci": (KERNEL + ["-Idrivers/virtio"],
                   [f"drivers/virtio/{n}.c" for n in "pci virtio virtqueue split packed".split()], 4096),
    "manifest": (HOST, ["host/manifest/manifest.c", "host/manifest/cell.c", "host/manifest/toml.cpp", "host/net/rules.c",
                        "host/base/buffer.c", "host/base/err.c"], 2048),
    "broker_requests": (HOST, [f"host/broker/{n}.c" for n in "attributes broker channel create directory lookup node node_fd "
                               "open remove request watch xattr".split()] + ["host/base/err.c"], 1024),
    "hosted_image": (HOST, ["host/hosted/image.c", "lib/elf.c"], 16384),
    "vsock_driver": (KERNEL + ["-Idrivers/vsock", "-Idrivers"],
                     ["drivers/vsock/stream.c", "drivers/vsock/send.c", "drivers/vsock/receive.c", "drivers/vsock/outside.c",
                      "drivers/vsock/plain.c", "drivers/vsock/packet.c"], 4096),
    "vsock_device": (HOST + ["-Dmmap=guarded_mmap", "-Dmunmap=guarded_munmap"],
                     ["host/vsock/ring.c", "host/vsock/vhost.c", "host/vsock/device.c", "host/vsock/stream.c",
                      "host/vsock/service.c",
                      "host/vsock/datagram.c", "host/net/peers.c", "host/net/socket.c", "host/net/resolve.c", "host/net/rules.c", "host/base/process.c", "host/base/buffer.c", "host/base/err.c"], 4096),
    "network_answers": (KERNEL + ["-Idrivers/network", "-Ikernel/include/freestanding", "-ffreestanding", "-DPORT_HOST=1"],
                        [f"drivers/network/{n}.c" for n in "channel connection datagram outside".split()], 4096),
    "network_requests": (HOST, [f"host/net/{n}.c" for n in "connection datagram peers resolve rules server socket".split()] +
                         [f"host/base/{n}.c" for n in "process buffer err".split()], 4096),
    "bpf": (KERNEL + ["-Ikernel/proc"], ["kernel/proc/bpf.c"], 2048),
    "control": (HOST, ["host/cli/control.c", "host/base/relay.c", "host/base/buffer.c", "host/base/err.c"], 8192),
}


def kernel_image():
    """The smallest kernel image: text, constants with the relocations, data."""
    load, dynamic, rela = 1, 2, 8
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0x10, 64, 0, 0, 64, 56, 4, 0, 0, 0)
    segments = ((load, 5, 0, 0, 4096, 4096), (load, 4, 4096, 4096, 256, 256), (load, 6, 4352, 8448, 128, 8192),
                (dynamic, 4, 4096, 4096, 64, 64))
    for kind, flags, offset, address, size, memory in segments:
        header += struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, memory, 4096)
    tags = struct.pack("<8Q", 7, 4096 + 64, 8, 48, 9, 24, 0, 0)
    relocs = struct.pack("<6Q", 8448, rela, 0x20, 8448 + 4096, rela, 8448)
    return header.ljust(4096, b"\xcc") + (tags + relocs).ljust(256, b"c") + b"d" * 128


def seccomp_filter():
    """A filter with an instruction of each class, and the call it looks at."""
    instructions = ((0x20, 0, 0, 4), (0x15, 0, 8, 0xc000003e), (0x02, 0, 0, 1), (0x07, 0, 0, 0), (0x20, 0, 0, 16), (0x0c, 0, 0, 0),
                    (0x61, 0, 0, 1), (0x3c, 0, 0, 0), (0x1d, 0, 1, 0), (0x06, 0, 0, 0x7fff0000), (0x16, 0, 0, 0))
    return struct.pack("<iIQ6Q", 1, 0xc000003e, 0x1000, 1, 2, 3, 4, 5, 6) + b"".join(struct.pack("<HBBI", *i) for i in instructions)


def honest_broker():
    """Answers of a broker that says nothing wrong, so that a walk through its tree reads ahead."""
    return b"\x01\x77" * 1500


def virtio_device():
    """Configuration space with the structures of a device, each in the first BAR, and registers that accept a driver."""
    space = bytearray(256)
    struct.pack_into("<H", space, 0x06, 0x10)
    space[0x34] = 0x40
    for at, following, kind, offset, length in ((0x40, 0x54, 1, 0, 56), (0x54, 0x68, 2, 64, 64), (0x68, 0, 4, 128, 64)):
        struct.pack_into("<BBBBBxxxIII", space, at, 9, following, 20, kind, 0, offset, length, 4)
    return bytes(space) + bytes([0, 0xff, 4, 1, 8]) * 200


# First inputs of parsers that random bytes would hardly get into.
SEEDS = {"hosted_image": kernel_image, "bpf": seccomp_filter, "broker_answers": honest_broker, "virtio_pci": virtio_device}
SANITIZERS = "-fsanitize=fuzzer,address,undefined"


def compile_one(name, directory):
    """Builds one fuzzer; returns its path, or raises with the compiler's words."""
    flags, sources, _ = FUZZERS[name]
    objects = []
    for source in [f"tests/fuzz/{name}.c", *sources]:
        output = os.path.join(directory, name + "-" + source.replace("/", "-") + ".o")
        # toml++ 3.3 wrongly declares its test for blanks such as U+03BB unreachable; that is Debian's, and harmless.
        compiler = ["clang++", "-std=c++17"] if source.endswith(".cpp") else ["clang", "-std=gnu11"]
        command = [*compiler, "-g", "-O1", "-fno-omit-frame-pointer",
                   SANITIZERS.replace("fuzzer", "fuzzer-no-link"), "-fno-sanitize-recover=all", *flags,
                   "-fno-sanitize=alignment" if source.endswith(".c") else "-fno-sanitize=alignment,unreachable", "-c", source, "-o", output]
        done = subprocess.run(command, cwd=common.TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(" ".join(command) + "\n" + done.stdout.decode("utf-8", "replace")[-3000:])
        objects.append(output)
    program = os.path.join(directory, name)
    done = subprocess.run(["clang++", SANITIZERS, *objects, "-o", program], cwd=common.TOP, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(done.stdout.decode("utf-8", "replace")[-3000:])
    return program


def run_one(name, seconds, directory):
    start = time.monotonic()
    try:
        program = compile_one(name, directory)
    except RuntimeError as error:
        return Result(name, "fuzz", FAIL, str(error))
    corpus = os.path.join(directory, name + "-corpus")
    os.mkdir(corpus)
    if name in SEEDS:
        with open(os.path.join(corpus, "seed"), "wb") as f:
            f.write(SEEDS[name]())
    seeds = os.path.join(common.TOP, "tests", "fuzz", "seeds", name)
    kept = os.path.join(common.BUILD, "fuzz", name)
    os.makedirs(kept, exist_ok=True)
    command = [program, f"-max_total_time={seconds}", f"-max_len={FUZZERS[name][2]}", "-print_final_stats=1", "-timeout=10",
               "-rss_limit_mb=2048", f"-artifact_prefix={kept}/", corpus, kept]
    if os.path.isdir(seeds):
        command.append(seeds)
    done = common.command(command, seconds + 60, None)
    text = done.err.decode("utf-8", "replace")
    found = re.search(r"stat::number_of_executed_units:\s+(\d+)", text)
    runs = int(found.group(1)) if found else 0
    result = Result(name, "fuzz", PASS, seconds=time.monotonic() - start)
    if done.status != 0:
        result.outcome, result.reason = FAIL, "\n".join([x for x in text.splitlines() if "NEW" not in x and "REDUCE" not in x][-35:]) + f"\n(input kept in {kept})"
    elif runs < 100:
        result.outcome, result.reason = FAIL, f"only {runs} inputs in {seconds} s"
    else:
        print(f"{name}: {runs} inputs", flush=True)
    return result


def run(arguments):
    results = common.Results()
    names = [n for n in FUZZERS if re.search(arguments.filter, n)]
    sources = {os.path.basename(p)[:-2] for p in glob.glob(os.path.join(common.TOP, "tests", "fuzz", "*.c"))}
    for name in sources ^ set(FUZZERS):
        results.add(Result(name, "fuzz", FAIL, "in tests/fuzz or in the table of harness/fuzz.py, not in both"))
    if not shutil.which("clang") or not glob.glob("/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a"):
        for name in names:
            results.add(Result(name, "fuzz", SKIP, "needs clang and libclang-rt-14-dev"))
        return results.show("fuzz", ["fuzz"], arguments.verbose)
    jobs = max(1, arguments.jobs)
    each = max(2, arguments.seconds * jobs // max(1, len(names)) - 1)
    with tempfile.TemporaryDirectory(prefix="cloister-fuzz-") as directory, \
            concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda n: run_one(n, each, directory), names):
            results.add(result)
    return results.show("fuzz", ["fuzz"], arguments.verbose)

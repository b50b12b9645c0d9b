# SPDX-License-Identifier: Apache-2.0
"""The peer: a Debian Linux guest in the same QEMU, under software emulation, with the same virtiofsd.

The kernel is linux-image-cloud-amd64 as Debian ships it, fetched by `apt-get download` into a cache directory and
unpacked, never installed. An initramfs with busybox and the few modules mounts the host's root by virtio-fs, as a
cell has it, runs one command there and powers off."""
import glob
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cloister-bench")
QEMU = "/usr/bin/qemu-system-x86_64"
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
MODULES = ["virtio_pci", "virtio_console", "virtio-rng", "virtiofs", "virtio_net"]

INIT = """#!/bin/sh
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for m in $(cat /modules); do insmod /$m || echo "insmod $m failed"; done
[ -e /sys/class/net/eth0 ] && ifconfig lo 127.0.0.1 && ifconfig eth0 10.0.2.15 netmask 255.255.255.0
mount -t virtiofs fs0 /root || echo "no root"
mount -t proc none /root/proc
mount -t sysfs none /root/sys
mount -t devtmpfs none /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts none /root/dev/pts
mount -t tmpfs none /root/dev/shm
mount -t tmpfs -o mode=1777 none /root/tmp
mount -t virtiofs fs1 /root/mnt
out=/dev/null
for p in /sys/class/virtio-ports/*; do
	[ "$(cat $p/name)" = bench.out ] && out=/dev/${p##*/}
done
chroot /root /bin/sh /mnt/command >$out 2>&1
echo "status $?" >$out
poweroff -f
"""


def fetch():
    """The unpacked kernel package; downloads it once."""
    unpacked = os.path.join(CACHE, "kernel")
    found = glob.glob(os.path.join(unpacked, "boot", "vmlinuz-*"))
    if found:
        return found[0]
    shutil.rmtree(CACHE, ignore_errors=True)
    os.makedirs(CACHE)
    quiet = {"cwd": CACHE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    subprocess.run(["apt-get", "download", "linux-image-cloud-amd64"], **quiet)
    meta = glob.glob(os.path.join(CACHE, "linux-image-cloud-amd64_*.deb"))[0]
    depends = subprocess.run(["dpkg-deb", "-f", meta, "Depends"], stdout=subprocess.PIPE, text=True, check=True).stdout
    package = depends.split()[0]
    subprocess.run(["apt-get", "download", package], **quiet)
    image = glob.glob(os.path.join(CACHE, package + "_*.deb"))[0]
    subprocess.run(["dpkg-deb", "-x", image, unpacked], check=True)
    os.unlink(image)
    os.unlink(meta)
    return glob.glob(os.path.join(unpacked, "boot", "vmlinuz-*"))[0]


def module_files():
    """The modules and what they depend on, in the order to load them."""
    paths = {}
    for path in glob.glob(os.path.join(CACHE, "kernel", "lib", "modules", "*", "kernel", "**", "*.ko"), recursive=True):
        paths[os.path.basename(path)[:-3].replace("-", "_")] = path
    order = []

    def add(name):
        name = name.replace("-", "_")
        if name in order or name not in paths:
            return
        with open(paths[name], "rb") as f:
            depends = re.search(rb"\0depends=([^\0]*)\0", f.read())
        for needed in filter(None, depends.group(1).decode().split(",") if depends else []):
            add(needed)
        order.append(name)

    for name in MODULES:
        add(name)
    return [paths[name] for name in order]


def initramfs():
    """Builds the initramfs; returns its path."""
    path = os.path.join(CACHE, "initramfs-2")  # the number changes with what is in it
    tree = tempfile.mkdtemp(prefix="cloister-bench-")
    try:
        for name in ("bin", "dev", "proc", "sys", "root"):
            os.mkdir(os.path.join(tree, name))
        shutil.copy("/bin/busybox", os.path.join(tree, "bin", "busybox"))
        for name in ("sh", "mount", "mkdir", "insmod", "chroot", "poweroff", "cat", "echo", "ifconfig"):
            os.symlink("busybox", os.path.join(tree, "bin", name))
        modules = module_files()
        for module in modules:
            shutil.copy(module, tree)
        with open(os.path.join(tree, "modules"), "w") as f:
            f.write("\n".join(os.path.basename(m) for m in modules) + "\n")
        with open(os.path.join(tree, "init"), "w") as f:
            f.write(INIT)
        os.chmod(os.path.join(tree, "init"), 0o755)
        with open(path, "wb") as out:
            find = subprocess.Popen(["find", ".", "-print0"], cwd=tree, stdout=subprocess.PIPE)
            subprocess.run(["cpio", "--null", "-o", "-H", "newc", "--quiet"], cwd=tree, stdin=find.stdout, stdout=out,
                           check=True)
            find.wait()
    finally:
        shutil.rmtree(tree)
    return path


class LinuxGuest:
    """One guest, from QEMU's start to its end. `work` is a host directory, /mnt in the guest."""

    host = "10.0.2.2"  # the host's loopback, as QEMU's user network shows it

    def __init__(self, work, memory="2048M", cpus=1, cpu="max"):
        self.port = None
        self.kernel = fetch()
        self.initramfs = os.path.join(CACHE, "initramfs-2")
        if not os.path.exists(self.initramfs):
            initramfs()
        self.work, self.memory, self.cpus, self.cpu = work, memory, cpus, cpu

    def start_share(self, directory, path):
        process = subprocess.Popen(
            [VIRTIOFSD, f"--socket-path={path}", "--rlimit-nofile=0", "-f", "-o", f"source={directory}", "-o",
             "sandbox=chroot", "-o", "cache=auto", "-o", "writeback", "-o", "log_level=err"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            if os.path.exists(path):
                return process
            time.sleep(0.01)
        raise RuntimeError("virtiofsd did not start")

    def argv(self, scratch):
        shares = []
        for i in range(2):
            shares += ["-chardev", f"socket,id=fs{i},path={scratch}/fs{i}",
                       "-device", f"vhost-user-fs-pci,chardev=fs{i},tag=fs{i},queue-size=1024"]
        return [QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "q35,memory-backend=ram", "-cpu", self.cpu, "-accel", "tcg,thread=multi",
                "-m", self.memory, "-object", f"memory-backend-memfd,id=ram,share=on,size={self.memory}",
                "-smp", str(self.cpus), "-kernel", self.kernel, "-initrd", self.initramfs,
                "-append", "quiet panic=-1",
                "-device", "virtio-serial-pci,disable-legacy=on",
                "-chardev", f"socket,id=out,path={scratch}/out",
                "-device", "virtserialport,chardev=out,name=bench.out",
                "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
                *(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="] if self.port else []), *shares]

    def run(self, command, timeout=900, watch=None):
        """Runs a shell command in the guest. Returns its output and the seconds from QEMU's start to its end.
        `watch(pid)` is called with QEMU's pid once the command has printed "ready"."""
        scratch = tempfile.mkdtemp(prefix="cloister-bench-")
        shares, qemu = [], None
        listener = socket.socket(socket.AF_UNIX)
        try:
            with open(os.path.join(self.work, "command"), "w") as f:
                f.write(command)
            listener.bind(scratch + "/out")
            listener.listen(1)
            listener.settimeout(timeout)
            shares.append(self.start_share("/", scratch + "/fs0"))
            shares.append(self.start_share(self.work, scratch + "/fs1"))
            start = time.monotonic()
            qemu = subprocess.Popen(self.argv(scratch), stdin=subprocess.DEVNULL)
            stream, _ = listener.accept()
            text = self.read_all(stream, qemu, watch, timeout)
            qemu.wait(timeout)
            return text, time.monotonic() - start
        finally:
            listener.close()
            for process in [qemu, *shares]:
                if process and process.poll() is None:
                    process.terminate()
                    process.wait()
            shutil.rmtree(scratch, ignore_errors=True)

    def read_all(self, stream, qemu, watch, timeout):
        data = b""
        timer = threading.Timer(timeout, qemu.kill)
        timer.start()
        try:
            while True:
                part = stream.recv(65536)
                if not part:
                    return data.decode("utf-8", "replace")
                data += part
                if watch and b"ready" in data:
                    watch(qemu.pid)
                    qemu.kill()
                    watch = None
        except ConnectionResetError:
            return data.decode("utf-8", "replace")
        finally:
            timer.cancel()

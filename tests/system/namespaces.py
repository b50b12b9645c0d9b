# SPDX-License-Identifier: Apache-2.0
"""Programs that make namespaces: those of util-linux, iproute2 and bubblewrap."""
import os

LOOK = """
id -u
ip -br link | tr -s ' '
ip -br addr | tr -s ' '
"""

BWRAP = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]

# What a sandboxed program sees: few processes, a network of its own, devices of its own, and nothing to write to.
SANDBOXED = LOOK + """
set -- /proc/[0-9]*
echo $# processes
ls /dev
echo x > /dev/null
touch /file 2>&1
mount --bind /tmp /usr 2>/dev/null || echo "no mounts"
"""


def as_user(*program):
    """The same by an ordinary user, where there is another one to be."""
    return program if os.geteuid() else ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", *program)


def test_unshare(t):
    t.need("ip")
    script = LOOK + "ip link set lo up" + LOOK + "ip link set lo down" + LOOK
    for options in ("-n", "-Urn", "-Umnpf"):
        program = ["unshare", options, "/bin/sh", "-c", script]
        if options != "-n" or not os.geteuid():
            t.same(program)
        if options != "-n":
            t.same(as_user(*program), "--user", f"{os.geteuid()}")


def test_ip_netns(t):
    t.need("ip")
    if os.geteuid():
        t.skip("takes root")
    t.same(["unshare", "-m", "/bin/sh", "-e", "-c", """
mount -t tmpfs none /run
ip netns add one
ip netns add two
ip netns | sort
ip -n one link set lo up
ip netns exec one ip -br addr | tr -s ' '
ip netns exec two ip -br addr | tr -s ' '
ip netns exec one sleep 100 &
while [ "$(ip netns identify $!)" != one ]; do sleep 0.1; done
ip netns pids one | grep -cx $!
kill $!
ip netns exec two ip netns identify
ip netns delete two
ip netns
ip netns delete one
ip netns
ls /run/netns
"""])


def test_bubblewrap(t):
    t.need("bwrap", "ip")
    program = [*BWRAP, "/bin/sh", "-c", SANDBOXED]
    t.same(program)
    user = t.same(as_user(*program))
    if not os.geteuid():
        done = t.cell(program, "--user", "1000:1000", status=0)
        t.equal(done.out, user.out)


def test_bubblewrap_shares_the_network(t):
    t.need("bwrap", "ip")
    done = t.cell([*BWRAP, "--share-net", "/bin/sh", "-c", LOOK], status=0)
    t.check(b"lo UNKNOWN 127.0.0.1/8 ::1/128" in done.out, done.text())

# SPDX-License-Identifier: Apache-2.0
"""The servers suite: Debian's servers in a Debian of their own, which mmdebstrap(1) makes once and keeps in ~/.cache. Each test is a
shell script that runs in it natively (chroot(1), in namespaces of its own) and in a cell, and prints the same. Needs root."""
import hashlib
import os
import shutil
import subprocess
import sys
import threading

from harness import common

SUITE = "servers"

PACKAGES = ("apache2", "curl", "mariadb-server", "memcached", "netcat-openbsd", "nginx-light", "openssh-client", "openssh-server",
            "postgresql", "redis-server")
MAKE_S = 1500
MAKING = threading.Lock()

# `eventually COMMAND`: within a minute, emulation is slow.
PRELUDE = """
eventually() { for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*"; return 1; }
"""


def root(t):
    """The Debian: its directory."""
    if os.geteuid() != 0:
        t.skip("needs root, to make a Debian")
    t.need("mmdebstrap")
    name = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    place = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cloister-tests", f"debian-{name}")
    with MAKING:
        if not os.path.isdir(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            print("making a Debian with servers, some minutes, once", file=sys.stderr, flush=True)
            fresh = f"{place}.{os.getpid()}"
            done = subprocess.run(["mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}", "bookworm", fresh],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=MAKE_S)
            if done.returncode:
                shutil.rmtree(fresh, ignore_errors=True)
            t.equal(done.returncode, 0, done.stdout[-2000:])
            os.chmod(fresh, 0o755)
            os.rename(fresh, place)
    return place


def same(t, script, *options):
    place = root(t)
    script = PRELUDE + script
    # What a cell has of its own: /tmp, /run, /run/lock, /dev/pts, a network of nothing but lo.
    around = f"""cd {place}; mount -t tmpfs none tmp; chmod 1777 tmp; mount -t tmpfs none run; mkdir -m 1777 run/lock
        mount -t proc none proc; mount --rbind /dev dev; mount -t devpts none dev/pts; ip link set lo up
        exec chroot . /bin/bash -c "$0" """
    native = common.command(["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "/bin/sh", "-c", around, script], 120, b"",
                            env=t.environment)
    done = t.cell(["/bin/bash", "-c", script], "--mount", f"{place}:/:ro", "--user", "root", "--memory", "2G", *options, timeout=300)
    t.equal(native.status, 0, "natively:", native.text()[-3000:])
    t.equal(done.out, native.out, "natively:", native.text()[-1500:], "in the cell:", done.text()[-3000:])
    t.equal(done.status, 0, done.text()[-3000:])


def test_redis(t):
    """Many clients, a snapshot by fork, and the log that is read after a restart."""
    same(t, """
start() { redis-server --port 7001 --daemonize yes --dir /tmp --logfile /tmp/log --appendonly yes >/dev/null; eventually redis-cli -p 7001 ping; }
start
redis-benchmark -p 7001 -n 2000 -c 20 -q -t set,get,lpush | tr '\\r' '\\n' | grep -c 'requests per second'
redis-cli -p 7001 set a 42
redis-cli -p 7001 bgsave
saved() { redis-cli -p 7001 info persistence | grep -q rdb_bgsave_in_progress:0; }
eventually saved
redis-cli -p 7001 bgrewriteaof
rewritten() { redis-cli -p 7001 info persistence | grep -q aof_rewrite_in_progress:0; }
eventually rewritten
redis-cli -p 7001 info persistence | grep status
redis-cli -p 7001 shutdown
start
redis-cli -p 7001 get a
redis-cli -p 7001 shutdown
""")


def test_memcached(t):
    same(t, """
memcached -d -u nobody -p 7002 -l 127.0.0.1
eventually nc -z 127.0.0.1 7002
printf 'set k 0 0 5\\r\\nhello\\r\\nget k\\r\\nquit\\r\\n' | nc -q1 127.0.0.1 7002
""")


def test_nginx(t):
    """Two workers, replaced while it serves."""
    same(t, """
mkdir /tmp/www; echo static > /tmp/www/i.html; head -c 3000000 /dev/zero > /tmp/www/large
echo 'worker_processes 2; pid /tmp/pid; error_log /tmp/err; events {} http { access_log /tmp/log; server { listen 127.0.0.1:7003; root /tmp/www; } }' > /tmp/conf
nginx -c /tmp/conf
eventually curl -sf http://127.0.0.1:7003/i.html
old=$(pgrep -P $(cat /tmp/pid) | sort | head -1)
nginx -c /tmp/conf -s reload 2>/dev/null
replaced() { ! kill -0 $old; }
eventually replaced
curl -s http://127.0.0.1:7003/i.html
curl -s http://127.0.0.1:7003/large | sha256sum
curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:7003/none
nginx -c /tmp/conf -s quit 2>/dev/null
gone() { ! [ -e /tmp/pid ]; }
eventually gone
grep -c GET /tmp/log
grep -v notice /tmp/err | sed 's/.*open()/open()/; s/, client.*//'
""")


def test_apache(t):
    """Workers with threads, a graceful restart, and ab(1) with ten connections at a time."""
    same(t, """
cp -r /etc/apache2 /tmp/apache2
sed -i 's/^Listen 80$/Listen 127.0.0.1:7004/' /tmp/apache2/ports.conf
echo 'ServerName localhost' >> /tmp/apache2/apache2.conf
export APACHE_CONFDIR=/tmp/apache2 APACHE_RUN_USER=www-data APACHE_RUN_GROUP=www-data APACHE_PID_FILE=/run/apache2.pid
export APACHE_RUN_DIR=/run/apache2 APACHE_LOCK_DIR=/run/lock APACHE_LOG_DIR=/tmp
mkdir /run/apache2
apache2 -d /tmp/apache2 -k start
eventually curl -sf http://127.0.0.1:7004/
curl -s http://127.0.0.1:7004/ | grep -c 'It works'
apache2 -d /tmp/apache2 -k graceful
eventually curl -sf http://127.0.0.1:7004/
ab -q -n 500 -c 10 http://127.0.0.1:7004/ | grep -E '^(Failed|Complete)'
apache2 -d /tmp/apache2 -k stop
gone() { ! [ -e /run/apache2.pid ]; }
eventually gone
""")


def test_postgresql(t):
    """Shared memory, semaphores, many processes; recovery after one of them was killed."""
    same(t, """
P=/usr/lib/postgresql/15/bin
as() { su postgres -c "$*"; }
as "$P/initdb -D /tmp/pg" >/tmp/init 2>&1 || cat /tmp/init
as "$P/pg_ctl -D /tmp/pg -o '-p 7005 -k /tmp' -l /tmp/log -t 120 -w start" | tail -n 1
as "$P/pgbench -p 7005 -h /tmp -i -q postgres" 2>&1 | grep -c '^done'
as "$P/pgbench -p 7005 -h /tmp -c 4 -j 2 -t 50 postgres" 2>&1 | grep -E 'processed|failed'
query() { as "psql -p 7005 -h /tmp -Atc '$*' postgres"; }
query 'select count(*) from pgbench_history'
kill -9 $(pgrep -f '^postgres: background')
eventually query 'select 1'
query 'select count(*) from pgbench_history'
query 'select sum(abalance) = (select sum(bbalance) from pgbench_branches) from pgbench_accounts'
as "psql -p 7005 -h 127.0.0.1 -Atc 'select inet_server_port()' postgres"
as "$P/pg_ctl -D /tmp/pg -m fast -t 120 stop" | tail -n 1
grep -c 'terminated by signal 9' /tmp/log
""")


def test_mariadb(t):
    same(t, """
mariadb-install-db --user=mysql --datadir=/tmp/my >/tmp/init 2>&1 || cat /tmp/init
mariadbd --user=mysql --datadir=/tmp/my --socket=/tmp/my.sock --port=7006 --bind-address=127.0.0.1 --pid-file=/tmp/my.pid >/tmp/log 2>&1 &
query() { mariadb -S /tmp/my.sock -BNe "$*"; }
eventually query 'select 1'
query 'create database t; use t; create table x(a int primary key auto_increment, b text) engine=innodb; insert into x(b) values("a"),("b");
       insert into x(b) select concat(x.b, y.b) from x, x y, x z, x u; select count(*), sum(length(b)) from x'
mariadb -h 127.0.0.1 -P 7006 -u root -BNe 'select 1' 2>&1 | sed 's/.*ERROR/ERROR/'
mariadb-admin -S /tmp/my.sock shutdown
wait %1; echo status $?
grep -cE 'Shutdown complete' /tmp/log
""")


def test_sshd(t):
    """A session through PAM, a terminal, a copy."""
    same(t, """
mkdir /run/sshd /tmp/keys; ssh-keygen -q -t ed25519 -N '' -f /tmp/host; ssh-keygen -q -t ed25519 -N '' -f /tmp/key
cp /tmp/key.pub /tmp/keys/root; chmod 700 /tmp/keys; chmod 600 /tmp/keys/root
/usr/sbin/sshd -p 7007 -h /tmp/host -o ListenAddress=127.0.0.1 -o AuthorizedKeysFile=/tmp/keys/%u -o StrictModes=no -o PrintMotd=no
eventually nc -z 127.0.0.1 7007
options="-q -i /tmp/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
ssh $options -p 7007 root@127.0.0.1 'echo in ssh; exit 5'; echo $?
ssh $options -p 7007 -tt root@127.0.0.1 'test -t 0 && echo terminal' </dev/null | tr -d '\\r'
head -c 3000000 /dev/urandom > /tmp/blob; scp $options -P 7007 /tmp/blob root@127.0.0.1:/tmp/blob2; cmp /tmp/blob /tmp/blob2 && echo same
kill $(cat /run/sshd.pid)
""")

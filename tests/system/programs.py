# SPDX-License-Identifier: Apache-2.0
"""Do Debian's programs, as they stand, do in a cell what they do natively?"""
import os
import subprocess


def tree(directory):
    """A small source tree with some of everything."""
    for i in range(60):
        folder = os.path.join(directory, f"d{i % 7}", f"e{i % 3}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"file{i}.txt"), "w") as f:
            f.write(f"line one of {i}\nneedle {i * i}\n" * (i + 1))
    os.symlink("d1/e1", os.path.join(directory, "link"))
    os.chmod(os.path.join(directory, "d2"), 0o750)


def test_busybox_scripts(t):
    t.need("/bin/busybox")
    t.same(["/bin/busybox", "sh", "-c", """
set -e
cd /tmp; mkdir -p a/b; echo hello > a/b/c
for i in 1 2 3 4 5; do echo "line $i" >> a/list; done
grep -c line a/list; sed -n 's/line/LINE/p' a/list | tail -n 2; awk '{ s += $2 } END { print s }' a/list
find a -type f | sort; cat a/b/c | tr a-z A-Z; wc -l < a/list; expr 6 \\* 7
(sleep 0.1; echo late) & wait; echo done; rm -r a; test ! -e a
seq 1 20 | xargs -n 5 echo; printf '%05d\\n' 42; echo $((1 << 20)); md5sum /bin/busybox; ls -d /etc /usr
tar cf - /etc/hostname 2>/dev/null | tar tf -
"""])


def test_busybox_applets(t):
    t.need("/bin/busybox")
    t.same(["/bin/busybox", "sh", "-c", "busybox --list | wc -l; date -u -d @0; uname -m; id -u; pwd; "
            "cut -d: -f1 /etc/passwd | sort | head -3; sort -n -r <<E\n3\n20\n1\nE\n"])


def test_bash_pipelines(t):
    t.script("ls -l /usr/bin | sort -k5 -n | tail -3; yes | head -1000 | wc -l; "
             "seq 1000 | grep 7 | sed 's/7/seven/' | sort -r | head -5; "
             "echo a b c | { read x y; echo $y $x; }; set -o pipefail; false | true || echo broken")


def test_bash_here_documents(t):
    t.script("""cat <<END
here $((6*7)) $(echo nested)
END
cat <<'END'
$not expanded
END
cat <<-END
\ttabs gone
\tEND
tr a-z A-Z <<< "here string"
read -r -d '' text <<END || true
many
lines
END
echo "$text" | wc -l
for i in 1 2 3; do cat <<END; done
number $i
END
""")


def test_bash_process_substitution_and_jobs(t):
    t.script("""diff <(seq 1 5) <(seq 1 5) && echo same
paste -d, <(seq 3) <(seq 4 6)
all=; for i in 1 2 3 4; do (exit $i) & all="$all $!"; done
for p in $all; do wait $p || echo "status $?"; done
trap 'echo trapped' USR1; kill -USR1 $$; echo after
coproc cat; echo through >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo "$line"
ulimit -Sn 500; ulimit -n; { (kill -9 $BASHPID) || echo "killed $?"; } 2>/dev/null
declare -A map=([a]=1 [b]=2); echo "${!map[@]}" | tr ' ' '\\n' | sort
time_out() { timeout 0.2 sleep 5 || echo "timeout $?"; }; time_out
""")


def test_bash_exit_statuses(t):
    for code in (0, 1, 7, 126, 255):
        t.cell(["/bin/bash", "-c", f"exit {code}"], status=code)


def test_coreutils_ls(t):
    t.script("ls -la /usr/lib/x86_64-linux-gnu | wc -l; ls -laR /etc/default /etc/skel; ls --full-time -d /usr /etc; "
             "ls -i /etc/passwd | wc -w; ls -lS /bin/ | head -5; ls /nonexistent || echo $?")


def test_coreutils_sort(t):
    t.script("seq 1 20000 | sort -R --random-source=/bin/ls | sort -n | md5sum; "
             "ls -l /usr/bin | sort -k5,5n -k9 | md5sum; seq 50000 | sort --parallel=4 -S 1M -r | head -3")


def test_coreutils_cp_archive(t):
    t.mounted("cp -a source copy; diff -r source copy; cp -al source hard; "
              "stat -c '%h %a' hard/d1/e1/file1.txt; find copy | sort | wc -l; touch -d @1000000000 source/d1; "
              "cp -a source again; stat -c %Y again/d1; rm -rf hard again",
              prepare=lambda d: (os.mkdir(os.path.join(d, "source")), tree(os.path.join(d, "source"))))


def test_coreutils_timeout(t):
    t.script("(timeout 5 echo in time; timeout 0.3 sleep 10 || echo $?; timeout -s KILL 0.3 sleep 10 || echo $?; "
             "timeout -k 0.2 0.2 bash -c 'trap \"\" TERM; while :; do :; done' || echo $?) 2>/dev/null")


def test_coreutils_xargs_parallel(t):
    t.script("seq 1 40 | xargs -P4 -n1 sh -c 'echo $(($0 * 3))' | sort -n | md5sum; "
             "find /etc -maxdepth 1 -type f -name 'h*' -print0 | xargs -0 -P4 -n2 wc -c | grep -v total | sort")


def test_coreutils_rest(t):
    t.script("""cd /tmp; mkdir -p x; seq 100 | split -l 30 - x/part; cat x/* | tail -1; comm -12 <(seq 9) <(seq 2 2 8)
head -c 100000 /dev/zero | sha256sum; base64 <<< binary; od -An -tx1 <<< abc; nl <<< line; fold -w 3 <<< abcdefgh
tee x/t <<< both; cat x/t; ln -s t x/s; readlink x/s; realpath x/s; install -m 700 x/t x/i; stat -c %a x/i
mkfifo x/f; (echo fifo > x/f) & cat x/f; wait; truncate -s 1M x/big; du --apparent-size -k x/big; df /tmp > /dev/null
shuf -i 1-10 | sort -n | tail -1; factor 1234567; numfmt --to=iec 1048576; dd if=/dev/zero bs=1k count=3 status=none | wc -c
env -i A=1 env; printenv LC_ALL; nohup true; nice -n 5 nice; expr length word; test -x /bin/sh && echo yes; sync; id -un
date -u -d @1700000000 +%F; tac <<< "$(seq 3)"; join <(echo 1 a) <(echo 1 b); stty -a < /dev/null || true; rm -r x""")


def test_find(t):
    t.script("find /usr/share/doc -name copyright | wc -l; find /etc -type l -printf '%p %l\\n' | sort | md5sum; "
             "find /usr/bin -size +1M -perm -111 | sort | md5sum; find /etc -newer /etc/hostname -maxdepth 1 | wc -l > /dev/null;"
             "find /usr/lib -name '*.so*' -type f | wc -l", timeout=240)


def test_grep_recursive(t):
    t.mounted("grep -r 'needle 1.*' tree | sort | md5sum; grep -rl 'of 5' tree | sort; grep -rc needle tree | sort | tail -2; "
              "grep -rE '^(line|needle) .*9$' tree | wc -l", prepare=lambda d: (os.mkdir(d + "/tree"), tree(d + "/tree")))


def test_tar_gzip_zstd(t):
    t.need("tar", "gzip", "zstd")
    t.mounted("tar cf a.tar --sort=name --mtime=@0 tree; md5sum < a.tar; gzip -nk a.tar; zstd -q -T2 -k a.tar; "
              "mkdir out; tar xzf a.tar.gz -C out; diff -r tree out/tree; gunzip -c a.tar.gz | cmp - a.tar; "
              "zstd -dcq a.tar.zst | cmp - a.tar; tar tvf a.tar | wc -l; tar czf - tree | tar tzf - | wc -l; "
              "rm a.tar.gz a.tar.zst", "--cpus", "2", prepare=lambda d: (os.mkdir(d + "/tree"), tree(d + "/tree")))


def test_perl(t):
    t.need("perl")
    t.same(["/usr/bin/perl", "-e", """
use strict; use warnings; use POSIX qw(:sys_wait_h floor); use File::Temp qw(tempfile); use IO::Handle;
STDOUT->autoflush(1);
my %h = map { $_ => $_ ** 2 } 1 .. 10; print join(",", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\\n";
my $text = "the quick brown fox" x 100; my $n = () = $text =~ /(\\w+)/g; print "$n words\\n";
my ($fh, $name) = tempfile(UNLINK => 1); print $fh "$_\\n" for 1 .. 1000; close $fh;
open(my $in, "<", $name) or die; my $sum = 0; $sum += $_ while <$in>; print "$sum\\n";
my $pid = fork // die; if (!$pid) { exit 9 } waitpid($pid, 0); print WEXITSTATUS($?), "\\n";
my $out = `echo from shell`; print $out; pipe(my $r, my $w); if (!fork) { print $w "child\\n"; exit } close $w; print <$r>; wait;
local $SIG{ALRM} = sub { die "alarm\\n" }; eval { alarm 1; sleep 10; }; print $@; printf "%.3f\\n", floor(3.7) + 0.5;
print "done\\n";
"""])


PYTHON = "/usr/bin/python3"


def test_python_version(t):
    t.same([PYTHON, "-c", "import sys, os; print(sys.version, os.getuid(), sys.platform, os.sysconf('SC_PAGESIZE'))"])


def test_python_threading(t):
    t.same([PYTHON, "-c", """
import threading, queue, time
q, results, lock = queue.Queue(), [], threading.Lock()
def work():
    while True:
        n = q.get()
        if n is None: return
        with lock: results.append(n * n)
        q.task_done()
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for n in range(500): q.put(n)
q.join()
for t in threads: q.put(None)
for t in threads: t.join()
print(sum(results), len(results))
event, barrier = threading.Event(), threading.Barrier(4)
def meet(): barrier.wait(); event.wait(10)
ts = [threading.Thread(target=meet) for _ in range(4)]
for t in ts: t.start()
time.sleep(0.05); event.set()
for t in ts: t.join()
local = threading.local(); local.x = 1
timer = threading.Timer(0.05, lambda: print('timer')); timer.start(); timer.join()
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: print(sum(pool.map(len, ['x' * n for n in range(100)])))
"""], "--cpus", "2")


def test_python_subprocess(t):
    t.same([PYTHON, "-c", """
import subprocess, signal, sys
print(subprocess.run(['echo', 'hello'], capture_output=True, text=True).stdout)
p = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(len(p.communicate(b'x' * 300000)[0]), p.returncode)
print(subprocess.call('exit 3', shell=True))
p = subprocess.Popen(['sleep', '60']); p.send_signal(signal.SIGTERM); print(p.wait())
try: subprocess.run(['sleep', '60'], timeout=0.2)
except subprocess.TimeoutExpired as e: print('timeout')
try: subprocess.run(['/nonexistent'])
except FileNotFoundError as e: print(e.errno)
a = subprocess.Popen(['seq', '1000'], stdout=subprocess.PIPE); b = subprocess.run(['wc', '-l'], stdin=a.stdout, capture_output=True)
a.stdout.close(); a.wait(); print(b.stdout)
r = [subprocess.Popen([sys.executable, '-c', f'print({i})'], stdout=subprocess.PIPE) for i in range(4)]
print([p.communicate()[0] for p in r])
"""], timeout=180)


def test_python_asyncio(t):
    t.same([PYTHON, "-c", """
import asyncio, os, socket
async def worker(n):
    await asyncio.sleep(0.01 * (n % 5)); return n
async def serve(reader, writer):
    writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
async def main():
    print(sum(await asyncio.gather(*(worker(n) for n in range(100)))))
    path = '/tmp/asyncio.socket'
    server = await asyncio.start_unix_server(serve, path)
    async def ask(i):
        r, w = await asyncio.open_unix_connection(path); w.write(b'question %d\\n' % i)
        answer = await r.readline(); w.close(); return answer
    print(await asyncio.gather(*(ask(i) for i in range(20))))
    server.close(); await server.wait_closed()
    p = await asyncio.create_subprocess_exec('sh', '-c', 'echo out; exit 4', stdout=asyncio.subprocess.PIPE)
    print((await p.communicate())[0], p.returncode)
    try: await asyncio.wait_for(asyncio.sleep(10), 0.05)
    except asyncio.TimeoutError: print('timeout')
    print(await asyncio.to_thread(lambda: 6 * 7))
asyncio.run(main())
os.unlink('/tmp/asyncio.socket') if os.path.exists('/tmp/asyncio.socket') else None
"""], "--cpus", "2")


def test_python_sqlite(t):
    t.mounted("""python3 - <<'E'
import sqlite3
for path in (':memory:', '/tmp/test-cloister.db', 'test.db'):
    db = sqlite3.connect(path)
    if path != ':memory:': db.execute('drop table if exists t')
    db.execute('create table t(id integer primary key, name text, value real)')
    with db: db.executemany('insert into t values(?, ?, ?)', ((i, f'n{i}', i / 7) for i in range(2000)))
    print(db.execute('select count(*), round(sum(value), 3) from t where name like "n1%"').fetchone())
    db.execute('create index i on t(name)'); db.execute('update t set value = 0 where id % 2 = 0'); db.commit()
    print(db.execute('pragma integrity_check').fetchone(), db.execute('select max(value) from t').fetchone())
    db.close()
db = sqlite3.connect('wal.db'); print(db.execute('pragma journal_mode=delete').fetchone())
E
rm -f /tmp/test-cloister.db test.db wal.db""")


def test_python_sqlite_wal(t):
    # Write-ahead logging shares memory between processes through a mapped file: on tmpfs it must work.
    t.same([PYTHON, "-c", """
import sqlite3, os, subprocess, sys
for f in os.listdir('/tmp'):
    if f.startswith('wal-cloister'): os.unlink('/tmp/' + f)
db = sqlite3.connect('/tmp/wal-cloister.db', timeout=60); print(db.execute('pragma journal_mode=wal').fetchone())
db.execute('create table t(x)'); db.commit()
code = "import sqlite3\\ndb = sqlite3.connect('/tmp/wal-cloister.db', timeout=60)\\nfor i in range(30):\\n with db: db.execute('insert into t values(1)')"
ps = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(3)]
print([p.wait() for p in ps], db.execute('select count(*) from t').fetchone())
db.close()
for f in os.listdir('/tmp'):
    if f.startswith('wal-cloister'): os.unlink('/tmp/' + f)
"""], "--cpus", "2", timeout=180)


def test_python_ctypes(t):
    t.same([PYTHON, "-c", """
import ctypes, ctypes.util, mmap
libc = ctypes.CDLL('libc.so.6', use_errno=True)
print(libc.strlen(b'hello'), libc.abs(-5), libc.open(b'/nonexistent', 0), ctypes.get_errno())
CMP = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
values = (ctypes.c_int * 5)(5, 3, 1, 4, 2)
libc.qsort(values, 5, 4, CMP(lambda a, b: a[0] - b[0])); print(list(values))
m = ctypes.CDLL('libm.so.6'); m.cos.restype = ctypes.c_double; m.cos.argtypes = [ctypes.c_double]; print(m.cos(0.0))
b = mmap.mmap(-1, 8192); b[:5] = b'bytes'; print(bytes(b[:6]))
"""])


def test_python_multiprocessing(t):
    t.same([PYTHON, "-c", """
import multiprocessing as mp
def f(x): return x * x
def g(q, lock, value):
    with lock: value.value += 1
    q.put(1)
if __name__ == '__main__':
    with mp.Pool(3) as pool: print(sum(pool.map(f, range(100))))
    q, lock, value = mp.Queue(), mp.Lock(), mp.Value('i', 0)
    ps = [mp.Process(target=g, args=(q, lock, value)) for _ in range(4)]
    for p in ps: p.start()
    print(sum(q.get() for _ in ps))
    for p in ps: p.join()
    print(value.value, [p.exitcode for p in ps])
"""], "--cpus", "2", timeout=180)


def test_python_standard_library(t):
    t.same([PYTHON, "-c", """
import json, re, hashlib, zlib, tempfile, os, shutil, glob, datetime, decimal, random, struct, socket, select, signal, time
import urllib.parse, xml.etree.ElementTree as E, csv, io, pickle, uuid, fractions, itertools, tarfile, zipfile, fcntl, resource
d = tempfile.mkdtemp(); open(d + '/a', 'w').write('x' * 1000)
with zipfile.ZipFile(d + '/z', 'w') as z: z.write(d + '/a', 'a')
print(zipfile.ZipFile(d + '/z').read('a') == b'x' * 1000, len(glob.glob(d + '/*'))); shutil.rmtree(d)
a, b = socket.socketpair(); a.send(b'hi'); print(select.select([b], [], [], 1)[0] == [b], b.recv(9))
signal.signal(signal.SIGALRM, lambda *x: print('alarm')); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.2)
print(hashlib.sha256(b'abc').hexdigest(), zlib.crc32(b'abc'), json.dumps({'a': [1, 2.5, None]}), uuid.UUID(int=5))
print(E.fromstring('<a><b>c</b></a>')[0].text, decimal.Decimal('0.1') * 3, datetime.date(2024, 2, 29).isoformat())
print(resource.getrlimit(resource.RLIMIT_CORE)[0] >= -1, os.cpu_count() >= 1, time.time() > 1.6e9)
"""])


def project(directory):
    """A C project of 20 files."""
    names = [f"part{i}" for i in range(20)]
    for i, name in enumerate(names):
        with open(os.path.join(directory, name + ".c"), "w") as f:
            f.write(f"#include <stdio.h>\n#include \"all.h\"\nint {name}(int x) {{ return x * {i} + 1; }}\n")
    with open(os.path.join(directory, "all.h"), "w") as f:
        f.write("".join(f"int {n}(int x);\n" for n in names))
    with open(os.path.join(directory, "main.c"), "w") as f:
        f.write("#include <stdio.h>\n#include \"all.h\"\nint main(void)\n{\n\tint sum = 0;\n" +
                "".join(f"\tsum += {n}(3);\n" for n in names) + "\tprintf(\"%d\\n\", sum);\n\treturn 0;\n}\n")
    with open(os.path.join(directory, "Makefile"), "w") as f:
        f.write("objects = main.o " + " ".join(n + ".o" for n in names) + "\nprogram: $(objects)\n\t$(CC) -o $@ $^\n"
                "$(objects): all.h\nclean:\n\trm -f program $(objects)\n.PHONY: clean\n")


def test_gcc_and_make(t):
    t.need("gcc", "make")
    directory = os.path.join(t.scratch, "project")
    os.mkdir(directory)
    project(directory)
    done = t.cell(["/usr/bin/make", "-s", "-j2"], "--mount", f"{directory}:/work:rw", "--workdir", "/work", "--cpus", "2",
                  timeout=400, status=0)
    t.equal(done.out, b"")
    t.check(os.path.exists(os.path.join(directory, "program")), "no program", done.text())
    t.equal(subprocess.run([os.path.join(directory, "program")], stdout=subprocess.PIPE).stdout, b"590\n")
    # It runs in a cell too, and make finds nothing left to do.
    done = t.cell(["/bin/sh", "-c", "./program && make -q && make -s clean && ls *.o 2>/dev/null | wc -l"], "--mount",
                  f"{directory}:/work:rw", "--workdir", "/work", status=0)
    t.equal(done.out, b"590\n0\n")


GO = """package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	var wg sync.WaitGroup
	results := make(chan int, 100)
	for i := 0; i < 100; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			time.Sleep(time.Duration(n%5) * time.Millisecond)
			results <- n * n
		}(i)
	}
	wg.Wait()
	close(results)
	sum := 0
	for r := range results {
		sum += r
	}
	data := make([][]byte, 0)
	for i := 0; i < 200; i++ {
		data = append(data, make([]byte, 10000))
	}
	runtime.GC()
	_, err := os.ReadFile("/nonexistent")
	name := "/tmp/go-cloister"
	os.WriteFile(name, []byte("written by go"), 0600)
	back, _ := os.ReadFile(name)
	os.Remove(name)
	fmt.Println(sum, len(data), err, string(back), len(os.Args))
	defer func() { fmt.Println("recovered:", recover() != nil) }()
	var p *int
	fmt.Println(*p)
}
"""


def test_static_go_program(t):
    t.need("go")
    source, program = os.path.join(t.scratch, "main.go"), os.path.join(t.scratch, "go-program")
    with open(source, "w") as f:
        f.write(GO)
    done = subprocess.run(["go", "build", "-o", program, source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GO111MODULE": "off",
                               "GOCACHE": os.path.join(t.scratch, "cache")})
    t.equal(done.returncode, 0, done.stdout)
    native = t.native([program, "x"])
    for cpus in ("1", "2"):
        done = t.cell(["/work/go-program", "x"], "--mount", f"{t.scratch}:/work", "--cpus", cpus)
        t.equal(done.status, native.status, done.text()[-2000:])
        t.equal(done.out, native.out)


MUSL = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void *thread(void *p) { return (void *)(strlen(p) * 2); }
int main(int argc, char **argv)
{
	pthread_t t; void *r; int status; char *m[100];
	pthread_create(&t, NULL, thread, "four"); pthread_join(t, &r);
	for (int i = 0; i < 100; i++) { m[i] = malloc(i * 1000 + 1); memset(m[i], i, i * 1000 + 1); }
	for (int i = 0; i < 100; i++) free(m[i]);
	pid_t p = fork(); if (p == 0) _exit(5);
	waitpid(p, &status, 0);
	FILE *f = popen("echo popen", "r"); char line[20] = ""; fgets(line, sizeof line, f); pclose(f);
	printf("%d %ld %d %s", argc, (long)r, WEXITSTATUS(status), line);
	return 0;
}
"""


def test_musl_programs(t):
    t.need("musl-gcc")
    source = os.path.join(t.scratch, "main.c")
    with open(source, "w") as f:
        f.write(MUSL)
    for name, flag in (("static", "-static"), ("dynamic", "-pie")):
        program = os.path.join(t.scratch, name)
        subprocess.run(["musl-gcc", "-O2", flag, "-o", program, source], check=True)
        native = t.native([program, "x"])
        t.equal(native.status, 0)
        done = t.cell([f"/work/{name}", "x"], "--mount", f"{t.scratch}:/work", status=0)
        t.equal(done.out, native.out)


def test_sqlite_shell(t):
    t.need("sqlite3")
    t.script("sqlite3 /tmp/cl.db 'create table t(a,b); insert into t values(1,2),(3,4); select sum(a), sum(b) from t'; "
             "rm /tmp/cl.db")


def test_shell_features_in_dash(t):
    t.same(["/bin/dash", "-c", "set -e; x=$(printf abc); echo ${x#a} ${x%c} ${#x}; for f in /etc/host*; do echo $f; done; "
            "[ -d /usr ] && echo dir; case abc in a*) echo match;; esac; f() { return 3; }; f || echo $?; "
            "while read l; do echo \"[$l]\"; done < /etc/hostname >/dev/null; exec 3>/tmp/dash-cl; echo x >&3; exec 3>&-; "
            "cat /tmp/dash-cl; rm /tmp/dash-cl"])


TABLES = r"""
import os, re, socket, subprocess
server = socket.create_server(("127.0.0.1", 0), backlog=0)
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.bind(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
child, _ = server.accept()
ports = {s.getsockname()[1]: name for s, name in ((server, "SERVER"), (datagram, "DATAGRAM"), (client, "CLIENT"))}
named = socket.socket(socket.AF_UNIX)
named.bind("\0cloister-tables-%d" % os.getpid())
named.listen(1)
inodes = {str(os.fstat(s.fileno()).st_ino): "INODE" for s in (server, datagram, client, child, named)}

def known(text):
    text = re.sub(r":(\d+)", lambda m: ":" + ports.get(int(m[1]), "?"), text)
    return " ".join(text.split()).replace("pid=%d" % os.getpid(), "pid=PID")

def show(*command):
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
    for line in sorted(known(l) for l in out.splitlines() if any(":%d" % p in l for p in ports)):
        if ":?" in line:  # natively: a socket of somebody else's with a port of the same number
            continue
        for number, name in inodes.items():
            line = re.sub(r"\b%s\b" % number, name, line)
        print(re.sub(r"(?<=[ =])%d(?=[ ,/])" % os.getpid(), "PID", line))

show("ss", "-Htunap")
show("ss", "-Htlnp")
show("ss", "-Htn", "state", "established")
show("ss", "-Htn", "sport", "=", ":%d" % server.getsockname()[1])
show("netstat", "-tunlp")
show("netstat", "-tun")
show("lsof", "-nP", "-i", "-a", "-p", str(os.getpid()))
out = subprocess.run(["ss", "-Hxlp"], stdout=subprocess.PIPE, text=True).stdout
print([l.split()[:2] for l in out.splitlines() if "@cloister-tables-%d" % os.getpid() in l and "pid=%d" % os.getpid() in l])
try:
    import psutil
except ImportError:
    pass
else:
    for c in sorted(psutil.net_connections(), key=str):
        if c.laddr and c.laddr.port in ports and (not c.raddr or c.raddr.port in ports):
            print(c.fd, c.family, c.type, known(":%d" % c.laddr.port), c.status, c.pid == os.getpid())
"""


def test_socket_tables(t):
    t.need("ss", "netstat", "lsof")
    t.same([PYTHON, "-c", TABLES], sort=True)


# A crash with three threads asleep, and what a debugger makes of the core file: the functions of each thread's frames.
CORE = r"""
cd "$(mktemp -d)"
ulimit -c unlimited
{ /usr/bin/python3 -c 'import os, threading, time
for i in range(3):
    threading.Thread(target=time.sleep, args=(100,)).start()
time.sleep(0.2)
os.abort()' || echo "status $?"; } 2>/dev/null
gdb -batch -nx -ex 'thread apply all bt' -ex 'print $_siginfo.si_signo' \
    -ex 'info sharedlibrary' /usr/bin/python3 core* >out 2>&1
grep -o 'terminated with signal.*' out
sed -nE 's/^Thread [0-9].*/@/p; s/^#[0-9]+ +(0x[0-9a-f]+ in )?([A-Za-z_][A-Za-z0-9_]*) .*/\2/p' out | paste -sd ' ' | sed 's/@/\n/g' | sort
grep -cE '0x[0-9a-f]+ +0x[0-9a-f]+ .*(libc|ld-linux)' out
grep '^\$1' out
rm -r "$PWD"
"""


def test_core_file(t):
    t.need("gdb", "/usr/bin/python3")
    t.script(CORE)

# SPDX-License-Identifier: Apache-2.0
"""What the benches share: the files that are worked on, memory of processes, results."""
import datetime
import json
import os
import re
import shutil
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
BUILD = os.path.abspath(os.environ.get("CLOISTER_BUILD", os.path.join(TOP, "build")))
CLOISTER = os.path.join(BUILD, "host", "cloister")


def make(directory, files, sequential_mib):
    """The measuring program, a tree of files, a big file, SQL, a C project."""
    make_micro(directory)
    make_tree(os.path.join(directory, "tree"), files)
    make_sequential(os.path.join(directory, "sequential"), sequential_mib)
    make_inserts(os.path.join(directory, "inserts.sql"))
    make_project(os.path.join(directory, "project"))


def make_micro(directory):
    path = os.path.join(directory, "micro")
    if not os.path.exists(path):
        subprocess.run(["ninja", "-C", BUILD, "bench-programs"], check=True, stdout=subprocess.DEVNULL)
        shutil.copy(os.path.join(BUILD, "bench", "micro"), path)


def make_tree(directory, files):
    for i in range(files):
        folder = os.path.join(directory, f"d{i // 100:02}", f"e{i // 20 % 5}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"file{i}"), "w") as f:
            f.write(f"content of file {i}\n" * (i % 400))


def make_sequential(path, mib):
    block = os.urandom(1 << 20)
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(block)


def make_inserts(path):
    with open(path, "w") as f:
        f.write("create table t(id integer primary key, name text, value integer);\nbegin;\n")
        for i in range(100000):
            f.write(f"insert into t values({i}, 'row {i}', {i * 7919 % 1000003});\n")
        f.write("commit;\nselect count(*), sum(value) from t;\n")


def make_project(directory):
    os.mkdir(directory)
    names = [f"part{i}" for i in range(20)]
    for i, name in enumerate(names):
        with open(os.path.join(directory, name + ".c"), "w") as f:
            f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
            for n in range(20):
                f.write(f"int {name}_{n}(int x) {{ char b[64]; snprintf(b, sizeof b, \"%d\", x * {i + n});"
                        f" return atoi(b) + (int)strlen(b); }}\n")
    with open(os.path.join(directory, "main.c"), "w") as f:
        f.write("#include <stdio.h>\n" + "".join(f"int {n}_0(int);\n" for n in names))
        f.write("int main(void) { int s = 0;\n" + "".join(f"s += {n}_0(3);\n" for n in names))
        f.write('printf("%d\\n", s); return 0; }\n')
    with open(os.path.join(directory, "Makefile"), "w") as f:
        f.write("CFLAGS = -O2\nobjects = main.o " + " ".join(n + ".o" for n in names) + "\n"
                "all: program\nprogram: $(objects)\n\t$(CC) -o $@ $^\n")


def make_text(path, mib):
    """Text that compresses as text does."""
    words = [f"{i * 2654435761 % 4294967291:x}"[:3 + i % 7] for i in range(4000)]
    lines = "".join(" ".join(words[(i * 37 + n * n) % 4000] for n in range(12)) + "\n" for i in range(15000))
    block = (lines.encode() * 2)[:1 << 20]
    with open(path, "wb") as f:
        for i in range(mib):
            f.write(block[i * 4096 % len(block):] + block[:i * 4096 % len(block)])


def make_repository(directory, files):
    """A git repository of one commit and a clean, settled index."""
    make_tree(directory, files)
    git = ["git", "-C", directory, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*git, "init", "-q"], **quiet)
    subprocess.run([*git, "add", "."], **quiet)
    subprocess.run([*git, "commit", "-q", "-m", "all"], **quiet)
    time.sleep(1.1)  # files as young as the index would be read again each time
    subprocess.run([*git, "update-index", "--refresh", "--force-write-index"], **quiet)
    subprocess.run([*git, "status", "--porcelain"], **quiet)


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1)) / 1024


def descendants(pids):
    """Every process below these, without them."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as f:
                parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            pass
    found, grown = set(pids), True
    while grown:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - set(pids)


def available_mib():
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable:\s+(\d+)", f.read()).group(1)) // 1024


def write_results(path, prefix, results):
    """Writes bench/results/PREFIXDATE.json unless another path is given."""
    now = datetime.datetime.now()
    if not path:
        os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
        path = os.path.join(HERE, "results", prefix + now.strftime("%Y%m%d-%H%M%S") + ".json")
    with open(path, "w") as f:
        json.dump({"date": now.isoformat(timespec="seconds"), "host": os.uname().release, **results}, f, indent=1)
    print(f"written: {path}")

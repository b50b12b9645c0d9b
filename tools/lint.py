#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Static checks, in seconds: format, who includes whom, headers that compile alone, what libkernel.a leaves undefined,
sizes. Prints what is wrong, a size report, and a last line "lint: N passed, N failed, N skipped"."""
import argparse
import concurrent.futures
import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE_LINES_MAX = 1000
IMAGE_MAX_BYTES = 1 << 20

# Directory -> prefixes of quoted includes it may use besides its own private headers (DESIGN: layout).
LAYERS = {
    "abi": ["abi/"],
    "lib": ["abi/", "lib/"],
    "kernel": ["abi/", "lib/", "kernel/", "port/port.h", "port/host.h", "port/inline.h"],
    "port": ["abi/", "lib/", "port/", "kernel/upcall.h"],
    "drivers": ["abi/", "lib/", "kernel/", "port/"],
    "host": ["abi/", "lib/", "base/", "boot/", "broker/", "cli/", "hosted/", "manifest/", "net/", "qemu/", "vsock/"],
}
INCLUDE_DIRS = {
    "abi": ["abi/include"],
    "lib": ["lib/include", "abi/include"],
    "kernel": ["port/x86/include", "kernel/include", "port/include", "lib/include", "abi/include"],
    "drivers": ["drivers", "port/x86/include", "kernel/include", "port/include", "lib/include", "abi/include"],
    "port": ["port", "port/x86/include", "kernel/include", "port/include", "lib/include", "abi/include"],
    "host": ["host", "lib/include", "abi/include"],
}


def sources(suffixes):
    out = subprocess.run(["git", "-C", TOP, "ls-files", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted({p for p in out if p.endswith(suffixes) and os.path.exists(os.path.join(TOP, p))})


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def is_test(path):
    """Unit tests and what they share may include what they like."""
    return re.search(r"(_test|_fakes|/test_[a-z_]+)\.[ch]$", path) is not None


def check_text(files):
    """Licence line, white space, file size."""
    problems = []
    for path in files:
        text = read(path)
        lines = text.split("\n")
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:3]):
            problems.append(f"{path}:1: no SPDX licence line")
        if path.endswith((".c", ".h")) and len(lines) > FILE_LINES_MAX:
            problems.append(f"{path}: {len(lines)} lines, more than {FILE_LINES_MAX}: two things in one file")
        if not text.endswith("\n"):
            problems.append(f"{path}: no newline at its end")
        for number, line in enumerate(lines, 1):
            if line != line.rstrip():
                problems.append(f"{path}:{number}: white space at the end of the line")
            if path.endswith((".c", ".h")) and re.match(r" {8}", line):
                problems.append(f"{path}:{number}: indented by spaces, not tabs")
    return problems


def check_format(files):
    """clang-format, remembering by content what was well-formed: a second run is quick."""
    cache_path = os.path.join(TOP, "build", "lint-format.cache")
    style = read(".clang-format")
    try:
        with open(cache_path, encoding="utf-8") as f:
            known = set(f.read().split())
    except OSError:
        known = set()
    keys = {p: hashlib.sha256((style + read(p)).encode()).hexdigest() for p in files}
    todo = [p for p in files if keys[p] not in known]

    def one(path):
        r = subprocess.run(["clang-format", "--dry-run", "--Werror", path], cwd=TOP, capture_output=True, text=True)
        return path, r.stderr.split("\n")[0] if r.returncode else None

    problems = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, problem in pool.map(one, todo):
            if problem:
                problems.append(f"{problem.split(': error')[0]}: not in the project's format (./dev fmt {path})")
            else:
                known.add(keys[path])
    if os.path.isdir(os.path.dirname(cache_path)):
        with open(cache_path, "w", encoding="utf-8") as f:
            f.write("\n".join(sorted(known & set(keys.values()))))
    return problems


def check_layers(files):
    problems = []
    for path in files:
        layer = path.split("/")[0]
        if layer not in LAYERS or is_test(path):
            continue
        for number, line in enumerate(read(path).split("\n"), 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            name = found.group(1)
            if os.path.exists(os.path.join(TOP, os.path.dirname(path), name)):
                near = os.path.normpath(os.path.join(os.path.dirname(path), name))
                if near.split("/")[0] == layer:
                    continue
            if not any(name.startswith(p) for p in LAYERS[layer]):
                # A private header of the same layer, found by the layer's own include path.
                if glob.glob(os.path.join(TOP, layer, "**", name), recursive=True):
                    continue
                problems.append(f'{path}:{number}: {layer}/ may not include "{name}"')
    return problems


def check_ports_apart(files):
    """Nothing portable names a port."""
    problems = []
    for path in files:
        if path.split("/")[0] not in ("kernel", "lib", "drivers") or not path.endswith((".c", ".h")):
            continue
        for number, line in enumerate(read(path).split("\n"), 1):
            named = path.split("/")[0] != "drivers" and re.search(r"(?i)\bhosted\b|\bx86\b(?!-64)(?!/include)", line)
            if named or re.search(r"\bx86_[a-z_]+\(|#\s*if.*PORT_X86|#\s*include.*\"x86", line):
                problems.append(f"{path}:{number}: portable code names a port: {line.strip()}")
    return problems


def check_headers_alone(files):
    headers = [p for p in files if p.endswith(".h") and p.split("/")[0] in INCLUDE_DIRS and "/skeleton/" not in p
               and not is_test(p)]

    def one(path):
        layer = path.split("/")[0]
        directories = INCLUDE_DIRS[layer]
        if path.startswith("port/hosted/"):
            directories = ["port/hosted/include", "port/hosted", *(d for d in directories if "x86" not in d)]
        flags = ["-I" + os.path.join(TOP, d) for d in directories]
        flags += ["-I" + os.path.join(TOP, os.path.dirname(path))]
        if layer == "host":
            flags += ["-D_GNU_SOURCE"]
        elif layer != "abi":
            flags += ["-I" + os.path.join(TOP, "kernel/include/freestanding"), "-ffreestanding", "-mgeneral-regs-only", "-DCLOISTER_KERNEL=1"]
        text = f'#include "{os.path.join(TOP, path)}"\n'
        r = subprocess.run(["cc", "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-parameter",
                            "-Wno-sign-compare", "-Wno-missing-field-initializers", "-Werror", "-DCLOISTER_DEBUG=0",
                            '-DCLOISTER_VERSION="lint"', *flags, "-x", "c", "-"],
                           input=text, capture_output=True, text=True)
        errors = [line for line in r.stderr.split("\n") if "error" in line]
        return f"{path}: does not compile alone: {errors[0] if errors else r.stderr[:200]}" if r.returncode else None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [p for p in pool.map(one, headers) if p]


def contract_names():
    names = set()
    for path in glob.glob(os.path.join(TOP, "port/include/port/*.h")):
        with open(path, encoding="utf-8") as f:
            names |= set(re.findall(r"\b(port_[a-z0-9_]+)\(", f.read()))
    return names


def undefined_symbols(archive):
    with tempfile.NamedTemporaryFile(suffix=".o") as whole:
        subprocess.run(["ld", "-r", "--whole-archive", archive, "-o", whole.name], check=True)
        out = subprocess.run(["nm", "-u", whole.name], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in out.split("\n") if line.strip()}


def check_contract(archive):
    """What libkernel.a leaves undefined is the port contract, bounds of linker sections, and nothing else. (The x86
    inline part of the contract calls one function of its own.)"""
    allowed = contract_names()
    inline = set(re.findall(r"\b(x86_[a-z_]+)\(", read("port/x86/include/port/inline.h")))
    problems = []
    for name in sorted(undefined_symbols(archive)):
        if name in allowed or name in inline or re.match(r"__start_|__stop_|section_|image_|_GLOBAL_OFFSET_TABLE_", name):
            continue
        problems.append(f"libkernel.a leaves '{name}' undefined, which is not in the port contract")
    return problems


def report_sizes(build):
    """The kernel's size by directory, and the image against its limit."""
    image = os.path.join(build, "port/x86/cloister.img")
    size = os.path.getsize(image)
    totals = {}
    for obj in glob.glob(os.path.join(build, "**", "*.o"), recursive=True):
        found = re.search(r"/(?:libkernel\.a|libdrivers\.a|cloister\.elf)\.p/(.*)\.o$", obj)
        if not found:
            continue
        part = found.group(1).replace(".._", "")
        root = "port/x86" if "cloister.elf.p" in obj else "drivers" if "libdrivers" in obj else "kernel"
        name = root if root != "kernel" else ("lib" if part.startswith("lib_") else "kernel/" + part.split("_")[0])
        out = subprocess.run(["size", obj], capture_output=True, text=True).stdout.split("\n")
        if len(out) > 1:
            text, data, bss = (int(v) for v in out[1].split()[:3])
            t = totals.setdefault(name, [0, 0, 0])
            t[0] += text
            t[1] += data
            t[2] += bss
    print(f"  kernel image {size:,} bytes of {IMAGE_MAX_BYTES:,} (text, data, bss by directory:)")
    for name, (text, data, bss) in sorted(totals.items(), key=lambda kv: -kv[1][0]):
        print(f"    {name:16} {text:8,} {data:8,} {bss:8,}")
    return [f"the kernel image is larger than {IMAGE_MAX_BYTES} bytes"] if size > IMAGE_MAX_BYTES else []


def check_skeleton(build):
    r = subprocess.run(["ninja", "-C", build, "port/skeleton/libskeleton.a"], capture_output=True, text=True)
    return [line for line in r.stdout.split("\n") if "error:" in line] or ["libskeleton.a does not build"] \
        if r.returncode else []


def check_shell():
    scripts = [p for p in sources(("",)) if p in ("dev", ".ci/run") or p.endswith(".sh")]
    problems = []
    for path in scripts:
        r = subprocess.run(["bash", "-n", path], cwd=TOP, capture_output=True, text=True)
        if r.returncode:
            problems.append(r.stderr.strip())
    return problems


def check_syscall_table():
    r = subprocess.run([sys.executable, "tools/syscalls-doc.py", "--check"], cwd=TOP, capture_output=True, text=True)
    return [r.stderr.strip()] if r.returncode else []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=os.path.join(TOP, "build"), help="build directory (default: build/)")
    arguments = parser.parse_args()
    c_files = sources((".c", ".h", ".cpp"))
    c_files = [p for p in c_files if not p.startswith("build")]
    all_files = sources((".c", ".h", ".cpp", ".py", ".S", ".ld", "meson.build"))
    archive = os.path.join(arguments.build, "kernel/libkernel.a")
    image = os.path.join(arguments.build, "port/x86/cloister.img")
    checks = [
        ("text", lambda: check_text(all_files)),
        ("format", lambda: check_format(c_files)),
        ("layers", lambda: check_layers(c_files)),
        ("ports apart", lambda: check_ports_apart(c_files)),
        ("headers alone", lambda: check_headers_alone(c_files)),
        ("shell", check_shell),
        ("system-call table", check_syscall_table),
        ("port contract", (lambda: check_contract(archive)) if os.path.exists(archive) else None),
        ("skeleton port", (lambda: check_skeleton(arguments.build)) if os.path.exists(archive) else None),
        ("size", (lambda: report_sizes(arguments.build)) if os.path.exists(image) else None),
    ]
    passed = failed = skipped = 0
    for name, check in checks:
        if check is None:
            print(f"lint {name}: skipped, nothing is built (./dev build)")
            skipped += 1
            continue
        problems = check()
        for problem in problems[:40]:
            print(f"  {problem}")
        if len(problems) > 40:
            print(f"  ... and {len(problems) - 40} more")
        print(f"lint {name}: {'FAILED' if problems else 'ok'}")
        failed += bool(problems)
        passed += not problems
    print(f"lint: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

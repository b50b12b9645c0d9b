#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/syscalls.md from kernel/syscall/syscalls.def; with --check, only says whether it is up to date."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENTRY = re.compile(r'^SYSCALL\((\d+), (\w+), (\w+), \((.*?)\), "(.*)"\)$')


def render():
    rows, counts = [], {}
    for line in (ROOT / "kernel/syscall/syscalls.def").read_text().splitlines():
        match = ENTRY.match(line)
        if line.startswith("SYSCALL(") and not match:
            sys.exit(f"syscalls.def: cannot read: {line}")
        if match:
            number, name, status, _, note = match.groups()
            counts[status] = counts.get(status, 0) + 1
            rows.append(f"| {number} | `{name}` | {status.lower()} | {note} |")
    summary = ", ".join(f"{counts[k]} {k.lower()}" for k in ("FULL", "PARTIAL", "STUB", "NONE") if k in counts)
    return (
        "# System calls\n\n"
        "Made from `kernel/syscall/syscalls.def` by `tools/syscalls-doc.py`; do not edit.\n\n"
        f"{summary}. *full*: as Linux does it; *partial*: see the note; *stub*: accepted without effect; *none*: answers `ENOSYS`.\n\n"
        "| nr | name | support | note |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def main():
    path, text = ROOT / "docs/syscalls.md", render()
    if "--check" in sys.argv:
        if not path.exists() or path.read_text() != text:
            sys.exit("docs/syscalls.md is not up to date: run tools/syscalls-doc.py")
        return
    path.write_text(text)


main()

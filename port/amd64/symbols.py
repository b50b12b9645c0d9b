#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the kernel's symbol table from its first link: nm's text symbols as an assembly file.

Format (symbols.c reads it): count, 0, then count pairs (address - start of the image, offset of the name), then the names.
The table comes last in the read-only data, behind all text, so the second link does not move what it names.
Usage: symbols.py KERNEL.elf OUTPUT.S SYMBOL-AT-THE-START
"""
import subprocess
import sys


def main():
    elf, output, first = sys.argv[1:]
    lines = subprocess.run(["nm", "-n", elf], check=True, capture_output=True, text=True).stdout.splitlines()
    start, symbols, names, offsets = None, [], [], {}
    for line in lines:
        address, kind, name = line.split(maxsplit=2)
        if name == first:
            start = int(address, 16)
        if kind in "tT" and not name.startswith("."):
            if symbols and symbols[-1][0] == int(address, 16):
                continue
            symbols.append((int(address, 16), name.split(".")[0]))
    size = 0
    for _, name in symbols:
        if name not in offsets:
            offsets[name] = size
            names.append(name)
            size += len(name) + 1
    with open(output, "w", encoding="ascii") as out:
        out.write('\t.section .symbols, "a"\n\t.balign 8\n')
        out.write(f"\t.long {len(symbols)}, 0\n")
        for address, name in symbols:
            out.write(f"\t.long {address - start}, {offsets[name]}\n")
        for name in names:
            out.write(f'\t.asciz "{name}"\n')
        out.write('\t.section .note.GNU-stack, "", @progbits\n')


if __name__ == "__main__":
    main()

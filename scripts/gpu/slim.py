"""Zeroes the machine code in a CUDA library that is not for the architectures that are
named, so that it packs well: the file is as long as before, and works on those alone.

    python3 scripts/gpu/slim.py libnccl.so.2 slim/libnccl.so.2 90

A library's kernels are in *fat binaries*: a header (the magic number 0xba55ed50, version
1, 16 bytes) and entries, each with a kind (1: PTX, 2: machine code), the length of its
own header and of what follows, and an architecture. NVIDIA does not document the form;
this was read off libraries, and refuses what does not look like it.
"""
import collections
import struct
import sys

MAGIC = struct.pack("<I", 0xBA55ED50)
MACHINE_CODE = 2


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit("slim.py: expected a library, where to write it, and architectures")
    source, to, *names = sys.argv[1:]
    keep = {int(name) for name in names}
    with open(source, "rb") as file:
        data = bytearray(file.read())
    kept, zeroed = collections.Counter(), collections.Counter()
    at = 0
    while (at := data.find(MAGIC, at)) >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", data, at)
        if (version, header) != (1, 16) or at + header + size > len(data):
            at += 4  # the same four bytes, by chance
            continue
        entry, end = at + header, at + header + size
        while entry < end:
            kind, _, header, length = struct.unpack_from("<HHIQ", data, entry)
            sm = struct.unpack_from("<I", data, entry + 28)[0]
            if not 32 <= header <= 4096 or entry + header + length > end:
                sys.exit(f"slim.py: {source}: no fat binary as expected at {entry:#x}")
            if kind == MACHINE_CODE and sm in keep:
                kept[sm] += length
            else:
                start = entry + header
                data[start:start + length] = bytes(length)
                zeroed[sm] += length
            entry += header + length
        at = end
    for sm in sorted(keep):
        if not kept[sm]:
            sys.exit(f"slim.py: {source} has no machine code for sm_{sm}, but for "
                     f"{', '.join(f'sm_{sm}' for sm in sorted(zeroed))}")
    with open(to, "wb") as file:
        file.write(data)
    print(f"{to}: kept {sum(kept.values()) / 1e6:.1f} MB of kernels, "
          f"zeroed {sum(zeroed.values()) / 1e6:.1f}")


if __name__ == "__main__":
    main()

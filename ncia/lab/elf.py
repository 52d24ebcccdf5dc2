"""One repair of one program: the wheel's pg_verifybackup has its dynamic section in pages that it may not write.

The loader writes there (DT_DEBUG) and the program dies before it starts. ELF-64 little endian, System V ABI.
"""

from __future__ import annotations

import struct

from ncia.core.base.errors import NciaError

MAGIC = b"\x7fELF\x02\x01"
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
PT_LOAD, PT_DYNAMIC = 1, 2
WRITABLE = 2
PAGE_BYTES = 4096


def make_dynamic_writable(program: bytes) -> bytes:
    """The program with every loaded segment writable that shares a page with its dynamic section."""
    if not program.startswith(MAGIC):
        raise NciaError("lab.not-elf", "repair a program", "it is no 64-bit little-endian ELF file")
    start, size, count = struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54)
    headers = [(start + i * size, PROGRAM_HEADER.unpack_from(program, start + i * size)) for i in range(count)]
    dynamic = next((pages(header) for _, header in headers if header[0] == PT_DYNAMIC), range(0))
    repaired = bytearray(program)
    for place, header in headers:
        own = pages(header)
        if header[0] == PT_LOAD and own.start < dynamic.stop and dynamic.start < own.stop:
            struct.pack_into("<I", repaired, place + 4, header[1] | WRITABLE)
    return bytes(repaired)


def pages(header: tuple[int, ...]) -> range:
    """The pages in memory that a program header covers."""
    first, size = header[3], header[6]
    return range(first // PAGE_BYTES, -(-(first + size) // PAGE_BYTES))

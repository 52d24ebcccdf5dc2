"""Trees of files for tests: an odd one to back up, and what ``rsync -aHAXnc --itemize-changes`` would say of two."""

from __future__ import annotations

import os
import random
import stat
import struct
from pathlib import Path

ROOT = os.geteuid() == 0
# version 2; the owner reads and writes, user 1000, the group and the mask read, others nothing
ENTRIES = ((1, 6, 2**32 - 1), (2, 4, 1000), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)
BIG_BYTES = 21_000_000  # more than a window, so that a chunk is carried over


def odd_tree(top: Path) -> Path:
    """Everything that a file system can hold without asking for more than this user may make."""
    top.mkdir()
    (top / "plain").write_bytes(b"hello\n")
    (top / "empty").write_bytes(b"")
    (top / "zeros").write_bytes(bytes(3_000_000))
    (top / "big").write_bytes(noise(1, BIG_BYTES))
    (top / "text").write_bytes(b"a line of text that compresses well\n" * 40_000)
    (top / "below").mkdir()
    for number in range(250):  # more than a batch
        (top / "below" / f"{number:03}").write_bytes(b"%d\n" % (number // 2))
    (top / "below" / "deeper" / "deepest").mkdir(parents=True)
    (top / "one name").write_bytes(b"of two\n")
    os.link(top / "one name", top / "below" / "another name")
    os.symlink("../somewhere<&>", top / "link")
    os.symlink(b"raw\xff", os.fsencode(top / "raw link"))
    os.mkfifo(top / "pipe", 0o640)
    raw = os.fsencode(top)
    for name in (b'n\xff"<\\\x01', "한글".encode(), b"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", b"x" * 255, b"\n"):
        Path(os.fsdecode(raw + b"/" + name)).write_bytes(name)
    os.setxattr(top / "plain", "user.note", b"kept \xff")
    os.setxattr(top / "below", "user.empty", b"")
    os.chmod(top / "text", 0o4750)  # noqa: S103
    os.chmod(top / "below", 0o3775)  # noqa: S103
    if ROOT:
        os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
        os.chown(top / "plain", 12345, 54321)
        os.chown(top / "link", 12345, 54321, follow_symlinks=False)
    os.setxattr(top / "one name", "system.posix_acl_access", ACL)
    os.utime(top / "link", ns=(5, 1_577_934_245_123_456_789), follow_symlinks=False)
    os.utime(top / "plain", ns=(-1_500_000_000, -1_500_000_000))
    os.utime(top / "below" / "deeper", ns=(7, 1_000_000_007))
    return top


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two trees: entries, types, content, metadata, names of one file."""
    one, two = listing(first), listing(second)
    found = [f"only in one: {path!r}" for path in sorted(one.keys() ^ two.keys())]
    for path in sorted(one.keys() & two.keys()):
        found += [
            f"{path!r}: {field} {one[path].get(field)!r:.100} is {two[path].get(field)!r:.100}"
            for field in one[path] | two[path]
            if one[path].get(field) != two[path].get(field)
        ]
    return found


def listing(top: Path) -> dict[bytes, dict[str, object]]:
    raw = os.fsencode(top)
    found: dict[bytes, dict[str, object]] = {}
    names: dict[tuple[int, int], list[bytes]] = {}
    paths = [raw]
    while paths:
        path = paths.pop()
        seen = os.lstat(path)
        told: dict[str, object] = {
            "mode": seen.st_mode,
            "owner": (seen.st_uid, seen.st_gid),
            "mtime": seen.st_mtime_ns,
            "device": seen.st_rdev,
            "attributes": {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            },
        }
        if stat.S_ISDIR(seen.st_mode):
            paths += [path + b"/" + name for name in os.listdir(path)]
        elif stat.S_ISLNK(seen.st_mode):
            told["target"] = os.readlink(path)
        elif stat.S_ISREG(seen.st_mode):
            told["content"] = Path(os.fsdecode(path)).read_bytes()
        if not stat.S_ISDIR(seen.st_mode):
            group = names.setdefault((seen.st_dev, seen.st_ino), [])
            group.append(path[len(raw) :])
            told["names"] = group
        found[path[len(raw) :]] = told
    for group in names.values():
        group.sort()
    return found

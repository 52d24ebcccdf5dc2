"""YAML with its places: every value knows the file and line it stands on, and no fault hides another.

Aliases are refused (an estate is read by people, line by line, and a page of aliases can grow without bound);
so is a key said twice, which YAML itself lets the last one win.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ncia.core.base.errors import Fault

BYTES_MAX = 16 * 1024 * 1024

# libyaml where the wheel has it: an estate of 1,600 systems in a second instead of ten.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Node:
    """A value and where it stands. ``value`` is a scalar, ``dict[str, Node]`` or ``list[Node]``.

    The line of a mapping's value is that of its key, which is where a reader looks.
    """

    file: str
    line: int
    value: Any

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def fault(self, what: str, hint: str = "") -> Fault:
        return Fault(self.file, self.line, what, hint)


def read(path: Path, faults: list[Fault]) -> Node | None:
    """The file's one document, or None; whatever is wrong with it is added to ``faults``."""
    file = str(path)
    try:
        if path.stat().st_size > BYTES_MAX:
            faults.append(Fault(file, 0, f"larger than {BYTES_MAX // 2**20} MiB", "split it"))
            return None
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        faults.append(Fault(file, 0, f"cannot be read: {error.strerror}", "check the path and its permissions"))
        return None
    except UnicodeDecodeError as error:
        faults.append(Fault(file, 0, f"is not UTF-8 (byte {error.start})", "save it as UTF-8"))
        return None
    return parse(text, file, faults)


def parse(text: str, file: str, faults: list[Fault]) -> Node | None:
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        return _Marking(loader, file, faults).mark(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        faults.append(
            Fault(file, line, f"not YAML: {error.problem or error.context}", "mend the line or the one before")
        )
    except yaml.YAMLError as error:
        faults.append(Fault(file, 0, f"not YAML: {str(error).splitlines()[0]}"))
    except RecursionError:
        faults.append(Fault(file, 0, "not YAML that we read: nested too deep"))
    finally:
        loader.dispose()
    return None


class _Marking:
    """Turns composed nodes into ours, once each."""

    def __init__(self, loader: Any, file: str, faults: list[Fault]) -> None:
        self.loader = loader
        self.file = file
        self.faults = faults
        self.seen: dict[int, Node | None] = {}  # None while a node is being marked: an alias inside itself

    def mark(self, node: yaml.Node, line: int | None = None) -> Node:
        line = line or node.start_mark.line + 1
        if id(node) in self.seen:
            self.faults.append(Fault(self.file, line, "an alias (*name) is not read here", "write the value out"))
            return self.seen[id(node)] or Node(self.file, line, None)
        self.seen[id(node)] = None
        if isinstance(node, yaml.MappingNode):
            marked = Node(self.file, line, self._mapping(node))
        elif isinstance(node, yaml.SequenceNode):
            marked = Node(self.file, line, [self.mark(item) for item in node.value])
        else:
            marked = Node(self.file, line, self._scalar(node, line))
        self.seen[id(node)] = marked
        return marked

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.faults.append(Fault(self.file, line, "a key must be a word", "key: value"))
            elif key in found:
                first = found[key].line
                self.faults.append(
                    Fault(self.file, line, f"key {key!r} said twice (first on line {first})", "keep one of them")
                )
            else:
                found[key] = self.mark(value_node, line)
        return found

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            self.faults.append(Fault(self.file, line, f"{str(node.value)!r} is no {_short(node.tag)}", "quote it"))
            return None


def _short(tag: str) -> str:
    return tag.rsplit(":", 1)[-1]

"""`./dev bench [NAME] [--json]` and `./dev soak [NAME]`: run one benchmark; without a name, list them.

A benchmark is a module of this package with ``SUMMARY`` (one line), ``SOAK`` (bool) and ``measure() -> Result``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys

import tests.benchmarks as package
from tests.benchmarks.result import Result


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--json", action="store_true", help="the last line is JSON")
    parser.add_argument("--soak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    found = (info.name for info in pkgutil.iter_modules(package.__path__) if info.name != "__main__")
    modules = {name: importlib.import_module(f"tests.benchmarks.{name}") for name in found}
    modules = {n: m for n, m in modules.items() if hasattr(m, "measure") and arguments.soak == m.SOAK}
    if arguments.name is None:
        for name, module in sorted(modules.items()):
            print(f"{name:<16} {module.SUMMARY}")
        return 0
    if arguments.name not in modules:
        print(
            f"Error: there is no benchmark {arguments.name!r}\nTry: one of {', '.join(sorted(modules))}",
            file=sys.stderr,
        )
        return 2
    result: Result = modules[arguments.name].measure()
    for key, value in result.figures.items():
        print(f"{key:<44} {value}")
    for bar in result.bars:
        print(f"{'holds' if bar.holds else 'MISSED':<7} {bar.id:<36} want {bar.want:<10} got {bar.got}")
    if arguments.json:
        print(json.dumps(result.as_json()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

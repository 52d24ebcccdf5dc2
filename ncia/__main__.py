"""`python -m ncia`: the command line, with the lab mounted where it is installed."""

from __future__ import annotations


def main() -> None:
    from ncia.cli import run

    run()


if __name__ == "__main__":
    main()

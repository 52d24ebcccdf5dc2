"""The house's own rules: layers, style and samples hold, or the tests fail."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 420
PRODUCT = ("ncia", "monitors", "backup", "recovery")


def test_imports_point_to_the_kernel_and_only_app_names_adapters() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    told = subprocess.run([sys.executable, "-c", command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_no_product_file_holds_a_second_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert long == {}


def test_product_code_names_no_site_and_no_hosted_system() -> None:
    import yaml

    names = {
        s["id"]
        for f, k in (("systems", "systems"), ("sites", "sites"))
        for s in yaml.safe_load((ROOT / "configs" / f"{f}.yaml").read_text())[k]
    }
    names -= {"witness", "citizens", "share"}  # words of the language as well
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        if "ncia/lab/" not in str(path)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(f'"{name}"' in line or f"'{name}'" in line for name in names)
        and '"""' not in line
        and not line.strip().startswith("#")
    ]
    assert found == []


def test_no_path_of_a_machine_is_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    needles = ("/" + "work/", "/" + "root/", "/" + "farm/")
    found = [
        f"{name}: {needle}"
        for name in listed
        if (ROOT / name).is_file()
        for needle in needles
        if needle.encode() in (ROOT / name).read_bytes()
    ]
    assert found == []

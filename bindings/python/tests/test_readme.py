"""What the README of the project shows is run as it stands there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, SAMPLE, linux_image

PACKAGE = Path(__file__).resolve().parents[1]


def run(readme: Path, beginning: str, folder: Path) -> str:
    """What the sequence of `readme` prints in `folder` that has `beginning` in it."""
    blocks = readme.read_text("utf-8").split("```python\n")[1:]
    (code,) = (block for block in (text.split("```", 1)[0] for text in blocks) if beginning in block)
    path = os.pathsep.join([str(PACKAGE), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        check=True,
        capture_output=True,
        encoding="utf-8",
    ).stdout


def test_the_sequence_of_the_readme_runs() -> None:
    output = run(ROOT / "README.md", "volfold.open", ROOT)
    assert "linux " in output
    assert "This volume is part of volfold's sample image." in output
    assert "/Documents" in output


def test_what_was_left_out_is_shown_as_the_readme_of_the_package_does(tmp_path: Path) -> None:
    linux_image(tmp_path, "LABEL=none /home ext4 defaults 0 2\nnonsense\n")
    shutil.copy(SAMPLE, tmp_path / "server.vmdk")
    (tmp_path / "data.vmdk").write_bytes(b"KDMV" + b"\xff" * 1020)
    output = run(PACKAGE / "README.md", "ds.systems()", tmp_path).splitlines()
    assert any(line.startswith("data.vmdk ") for line in output), output
    assert "Debian GNU/Linux 12 files01" in output
    assert "/home LABEL=none None" in output
    assert any("volume LABEL=none, which" in line for line in output), output

"""What the README of the project shows is run as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

PACKAGE = Path(__file__).resolve().parents[1]


def test_the_sequence_of_the_readme_runs() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    path = os.pathsep.join([str(PACKAGE), *sys.path])
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "linux " in output
    assert "This volume is part of volfold's sample image." in output
    assert "/Documents" in output

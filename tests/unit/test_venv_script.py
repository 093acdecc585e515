"""Which interpreter `make` takes: scripts/venv.sh, with some that only say what they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "venv.sh"


def interpreter(folder: Path, name: str, *, new: bool = True, optimised: bool = True) -> Path:
    """Makes no virtual environment, so the script ends after it has said what it chose."""
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f"*version_info*) exit {0 if new else 1} ;;\n"
        f"*CONFIG_ARGS*) exit {0 if optimised else 1} ;;\n"
        "--version) echo Python 3.99.0 ;;\n"
        "*) echo it makes none; exit 1 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return path


def said(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["sh", str(SCRIPT), str(folder / "venv"), str(folder / "stamp")],
        env={"PATH": f"{folder}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert not (folder / "venv").exists()
    return done.stdout + done.stderr


def test_the_first_one_is_taken_that_was_built_with_optimisations(tmp_path: Path) -> None:
    interpreter(tmp_path, "python3", optimised=False)
    interpreter(tmp_path, "python3.13", new=False)
    chosen = interpreter(tmp_path, "python3.12")
    interpreter(tmp_path, "python3.11")
    assert said(tmp_path).startswith(f"making {tmp_path}/venv with {chosen} (Python 3.99.0)")


def test_the_usual_one_is_taken_when_nothing_is_wrong_with_it(tmp_path: Path) -> None:
    chosen = interpreter(tmp_path, "python3")
    interpreter(tmp_path, "python3.12")
    text = said(tmp_path)
    assert f"with {chosen} " in text
    assert "without optimisations" not in text


def test_what_the_user_names_is_taken(tmp_path: Path) -> None:
    interpreter(tmp_path, "python3")
    named = interpreter(tmp_path, "mine", optimised=False)
    text = said(tmp_path, PYTHON=str(named))
    assert f"with {named} " in text
    assert "without optimisations" in text


def test_what_the_user_names_must_be_new_enough(tmp_path: Path) -> None:
    interpreter(tmp_path, "python3")
    text = said(tmp_path, PYTHON=str(interpreter(tmp_path, "mine", new=False)))
    assert "needs Python 3.11 or newer; found: Python 3.99.0" in text

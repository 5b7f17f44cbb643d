"""The notebooks run from top to bottom, are short of breath, and are kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from persist.cli.fit import command

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DATA = [ROOT / "data" / name for name in ("burden.csv", "treatments.csv", "truth.csv")]
LONG = dict.fromkeys(("2_fit_diagnostics", "3_schedules"), (pytest.mark.slow, pytest.mark.ci))
"""Notebooks that fit: a minute each, most of it compiling."""
RUNS = [pytest.param(path, id=path.stem, marks=LONG.get(path.stem, ())) for path in NOTEBOOKS]
LIMIT_SECONDS = 480


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_hides_no_failure(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        assert cell.cell_type != "code" or "except" not in cell.source
        assert "raises-exception" not in cell.metadata.get("tags", [])


def test_the_real_fit_is_told_as_it_is() -> None:
    usual = {option.name: option.default for option in command.params}
    book = nbformat.read(ROOT / "notebooks" / "2_fit_diagnostics.ipynb", as_version=4)
    told = f"{usual['chains']} chains of {usual['draws']} draws after {usual['warmup']} of warm-up"
    assert told in " ".join(book.cells[0].source.split())


@pytest.mark.parametrize("path", RUNS)
def test_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [file.name for file in DATA if not file.is_file()]
    if missing:
        pytest.skip(f"the bundled series are not there: {', '.join(missing)}")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=LIMIT_SECONDS, kernel_name="python3", resources={"metadata": {"path": ROOT}})
    client.execute()  # raises where a cell does

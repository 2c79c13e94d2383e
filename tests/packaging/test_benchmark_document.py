"""One benchmark is measured anew without the others: their sections stay."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("benchmark_document", Path(__file__).parents[2] / "benchmarks" / "document.py")
assert spec is not None
assert spec.loader is not None
document = importlib.util.module_from_spec(spec)
spec.loader.exec_module(document)

BEFORE = "# Old\n\nhead\n\n## One\n\na table\n\n### of parts\n\n## Two\n\nmeasured before\n"


def test_a_section_is_replaced_in_its_place_and_a_new_one_comes_last():
    after = document.with_sections(BEFORE, "# New\n", ["## One\n\nmeasured now\n", "## Three\n\nx\n"])
    assert after == "# New\n\n## One\n\nmeasured now\n\n## Two\n\nmeasured before\n\n## Three\n\nx\n"


def test_a_document_made_anew_holds_what_was_measured_alone():
    assert list(document.sections_of(document.with_sections("", "# New", ["## Two\n\nx", "## One\n\ny"]))) == ["Two", "One"]


def test_the_documents_own_sections_are_read_whole():
    text = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    head = text[: text.index("\n## ")]
    assert document.with_sections(text, head, []) == text


def test_every_benchmark_can_be_started():
    root = Path(__file__).parents[2]
    names = [f"benchmarks.{file.stem}" for file in sorted((root / "benchmarks").glob("*.py")) if file.stem != "__main__"]
    # what only rivals need is imported where they are asked
    script = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)

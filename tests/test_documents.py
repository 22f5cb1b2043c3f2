"""The documents: paths and links exist, and README.md stays short."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import gunicorn_backlog

ROOT = Path(__file__).parents[1]
PACKAGE = Path(gunicorn_backlog.__file__).parent  # elsewhere, if installed from a wheel
CONTRIBUTING = ".github/CONTRIBUTING.md"


def documents() -> list[str]:
    """Return the Markdown files, without those of hidden folders except ``.github``."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") or name == ".github"]
        found += [os.path.relpath(Path(folder, name), ROOT) for name in names]
    return sorted(name for name in found if name.endswith(".md"))


DOCUMENTS = documents()
LONGEST_README = 2_200  # words, without code and tables


def without_code(text: str) -> str:
    """Return Markdown without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def missing_paths(text: str) -> list[str]:
    """Return the paths in backticks that exist neither in the package nor in the repository."""
    found = re.findall(r"`([\w./-]*(?:\w/|\.\w+))`", text)
    paths = [path for path in found if "/" in path or path.endswith((".md", ".py"))]
    places = (ROOT, PACKAGE.parent, PACKAGE)
    return [path for path in paths if not any((place / path).exists() for place in places)]


def broken_links(document: str, text: str) -> list[str]:
    """Return the relative links of a document that lead to no file, or to no heading."""
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", without_code(text))
    return [link for link in links if not leads_somewhere(document, text, link)]


def leads_somewhere(document: str, text: str, link: str) -> bool:
    """Return whether the file of a relative link exists, and has the heading."""
    path, _, anchor = link.partition("#")
    relative = os.path.normpath(Path(document).parent / path)
    targets = [top / relative for top in (ROOT, PACKAGE.parent) if (top / relative).exists()]
    if not targets:
        return False
    return not anchor or anchor in anchors(targets[0].read_text() if path else text)


def test_every_path_in_contributing_exists() -> None:
    """A newcomer finds each file that CONTRIBUTING.md names."""
    assert missing_paths((ROOT / CONTRIBUTING).read_text()) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(document: str) -> None:
    """No document links to a file or heading that was moved."""
    assert broken_links(document, (ROOT / document).read_text()) == []


def test_a_planted_error_is_found() -> None:
    """A wrong path, a wrong link and a wrong anchor are reported."""
    assert missing_paths("`hooks.py`, `workers/`, `tests/lab/`, `no/such.py`, `workers/none/`") == [
        "no/such.py",
        "workers/none/",
    ]
    text = "[a](LICENSE) [b](#there) [c](NONE) [d](#nowhere) [e](README.md#nowhere)\n\n## There\n"
    assert broken_links("README.md", text) == ["NONE", "#nowhere", "README.md#nowhere"]


def test_the_readme_is_short() -> None:
    """README.md has at most 2,200 words beside tables and code."""
    lines = without_code((ROOT / "README.md").read_text()).splitlines()
    prose = " ".join(line for line in lines if not line.startswith("|"))
    assert len(re.sub(r"\]\([^)]*\)", "]", prose).split()) <= LONGEST_README

"""What a release states: versions, tested Pythons, and the page on PyPI."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import yaml

import gunicorn_backlog

ROOT = Path(__file__).parents[1]
# Of the installed package: that of an editable one is as old as its installation.
DESCRIPTION = str(metadata("gunicorn_backlog")["Description"])
STALE = "or the metadata is old: pip install --editable '.[test]'"
# A link or picture; code in blocks and backticks has none.
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]*)\)")


def without_code(text: str) -> str:
    """Return Markdown without code blocks and code in backticks."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def workflow_pythons() -> list[str]:
    """Return the Pythons on which the workflow runs the whole suite."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    pythons: list[str] = workflow["jobs"]["suite"]["strategy"]["matrix"]["python"]
    return pythons


def test_every_stated_python_is_tested() -> None:
    """The classifiers are the Pythons of the workflow, from ``Requires-Python`` on."""
    stated = metadata("gunicorn_backlog").get_all("Classifier") or []
    versions = [each.rpartition(" ")[2] for each in stated if re.search(r":: 3\.\d+$", each)]

    assert versions == workflow_pythons()
    assert metadata("gunicorn_backlog")["Requires-Python"] == f">={versions[0]}"


def test_the_changelog_has_the_version() -> None:
    """The newest section is empty or collects changes; the next one is the version's."""
    sections = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert sections[:2] == ["Unreleased", gunicorn_backlog.__version__]
    assert metadata("gunicorn_backlog")["Version"] == gunicorn_backlog.__version__, STALE


def test_the_page_on_pypi_has_no_relative_link() -> None:
    """PyPI has none of the repository's files: links are absolute, or lead to a heading."""
    links = LINK.findall(without_code(DESCRIPTION))

    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == [], STALE
    assert "<img" not in DESCRIPTION


def test_the_page_on_pypi_has_the_rest_of_the_readme() -> None:
    """Only lines with a link or picture differ, and the page has no others."""
    readme = (ROOT / "README.md").read_text().splitlines()
    page = DESCRIPTION.splitlines()

    assert [line for line in readme if line not in page and not LINK.search(line)] == [], STALE
    without_links = {LINK.sub(lambda link: link[0][1:].partition("](")[0], line) for line in readme}
    changed = [line for line in page if line not in readme]
    assert [line for line in changed if line not in without_links] == [
        "- in a shell, `gunicorn-backlog top`."
    ]

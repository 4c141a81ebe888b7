"""The pages of ``docs/`` keep their word: their code runs, their links lead somewhere, and the
reference lists every public name.

A page's Python blocks become one file, each on the lines on which it stands in the page, and pytest
runs that file: from top to bottom, then the tests in it. So a failure names the page's own line. A
block marked ``text`` is what the code above it prints.
"""

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gossipbook

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for page in DOCS.rglob("*.md")
    if "_build" not in page.relative_to(DOCS).parts
)
PAGES_WITH_CODE = ["concepts.md", "tutorial.md"]

NOTHING_COLLECTED = 5
"""What pytest exits with when a file ran from top to bottom and holds no tests."""


def test_only_the_pages_that_are_run_hold_python() -> None:
    assert [page for page in PAGES if "```python\n" in text_of(page)] == PAGES_WITH_CODE


@pytest.mark.parametrize("page", PAGES_WITH_CODE)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: str, tmp_path: Path) -> None:
    file = tmp_path / f"test_{page.removesuffix('.md')}.py"
    file.write_text(code_of(page))
    done = run(
        ["pytest", "-q", "-s", "-W", "error", "-p", "no:cacheprovider", file.name], cwd=tmp_path
    )
    tests = re.findall(r"^(?:async )?def test_|^Test\w+ = ", code_of(page), re.MULTILINE)
    assert done.returncode == (0 if tests else NOTHING_COLLECTED), done.stdout + done.stderr
    assert not tests or f"{len(tests)} passed" in done.stdout, done.stdout
    at = 0
    for promised in blocks_of(page, "text"):
        found = done.stdout.find(promised, at)
        assert found >= 0, f"{page} says that this is printed:\n{promised}\nit is:\n{done.stdout}"
        at = found + len(promised)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_a_file_and_a_heading(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text_of(page)):
        if "://" in target:
            continue
        file = (DOCS / page).parent / target if target else DOCS / page
        assert file.exists(), f"{page} points at {target}, which is not there"
        if anchor:
            assert anchor in anchors_of(file.read_text()), f"{page} points at {target}#{anchor}"


@pytest.mark.parametrize(
    "module", ["gossipbook", "gossipbook.sim", "gossipbook.sim.strategies"], ids=str
)
def test_the_reference_lists_every_public_name(module: str) -> None:
    listed = names_in_the_reference()
    public = importlib.import_module(module)
    missing = [
        name
        for name in public.__all__
        if f"{module}.{name}" not in listed and not is_listed_as_gossipbook(public, name, listed)
    ]
    assert not missing, f"docs/reference/ does not list {', '.join(missing)} of {module}"


@pytest.mark.parametrize("name", ["adversaries", "checkers"])
def test_what_the_reference_lists_by_module_has_words_for_all(name: str) -> None:
    assert f"gossipbook.sim.{name}" in names_in_the_reference()
    module = importlib.import_module(f"gossipbook.sim.{name}")
    public = [
        thing
        for thing_name, thing in vars(module).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
        and not thing_name.startswith("_")
    ]
    assert public
    assert [thing.__name__ for thing in public if not thing.__doc__] == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for needed in ("sphinx", "myst_parser", "furo"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed; the extra docs brings it")
    site, trees = tmp_path / "html", tmp_path / "trees"
    done = run(
        ["sphinx", "-W", "--keep-going", "-q", "-d", str(trees), str(DOCS), str(site)],
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    peers = (site / "reference/peers.html").read_text()
    assert 'id="gossipbook.open_peer"' in peers
    assert 'id="gossipbook.Peer.submit"' in peers
    # Types in signatures lead to where the reference has them, whichever module defines them.
    assert 'href="orders.html#gossipbook.Genesis"' in peers
    assert 'href="peers.html#gossipbook.PeerId"' in (site / "reference/events.html").read_text()


# -------------------------------------------------------------------- helpers


def run(module: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *module],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


def blocks_of(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def code_of(page: str) -> str:
    """The Python blocks, and an empty line for every other line of the page."""
    lines = []
    inside = False
    for line in text_of(page).splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


def anchors_of(text: str) -> set[str]:
    """The headings as GitHub and MyST spell them in links."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names_in_the_reference() -> set[str]:
    """The full names that the directives of ``docs/reference`` list."""
    names = set()
    for page in PAGES:
        module = ""
        for directive, name in re.findall(r"^\.\. ([\w:]+):: (\S+)$", text_of(page), re.MULTILINE):
            if directive == "currentmodule":
                module = name
            elif directive.startswith(("auto", "py:")):
                names.add(name if name.startswith("gossipbook") else f"{module}.{name}")
    return names


def is_listed_as_gossipbook(module: object, name: str, listed: set[str]) -> bool:
    """Whether it is another name for what ``gossipbook`` has, such as ``sim.Link``."""
    same = getattr(module, name) is getattr(gossipbook, name, None)
    return same and f"gossipbook.{name}" in listed

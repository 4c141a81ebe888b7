"""How the pages of ``docs/`` become a site: Sphinx reads Markdown, and docstrings as they stand.

The docstrings are written to be read in the source. What Sphinx would want otherwise is settled
here and not there: a name between single backticks is code, and a link where the reference has
it; an indented drawing stays a drawing; fields that a signature already shows are not listed
again. Warnings are errors (``-W``), so a page that is left out or points nowhere fails the build::

    make docs        # python -m sphinx -W --keep-going -b html docs docs/_build/html
"""

from __future__ import annotations

import importlib.metadata
from inspect import isasyncgenfunction, unwrap
from typing import TYPE_CHECKING, Any

from pygments.lexers.special import TextLexer

import gossipbook
from gossipbook.gossip.statistics import GossipStatistics
from gossipbook.transport.memory import NetworkCounters

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "gossipbook"
author = "The gossipbook maintainers"
project_copyright = f"2026 {author}"
release = importlib.metadata.version("gossipbook")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

default_role = "py:obj"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = f"gossipbook {release}"
html_copy_source = False
html_show_sphinx = False

MADE_BY_THE_LIBRARY = {
    gossipbook.Book,
    gossipbook.ForkProof,
    gossipbook.Keypair,
    gossipbook.MemoryTransport,
    gossipbook.Peer,
    gossipbook.PeerStatistics,
    gossipbook.Receipt,
    gossipbook.Subscription,
    gossipbook.sim.SimulatedPeer,
    GossipStatistics,
    NetworkCounters,
}
"""Classes that users are given and never construct."""


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", show_how_it_is_called)
    app.connect("autodoc-skip-member", skip_fields_of_named_tuples)
    app.connect("autodoc-process-docstring", keep_drawings)
    app.connect("missing-reference", link_where_users_import_from)
    app.add_lexer("hex", TextLexer)  # the byte dumps of WIRE.md


def show_how_it_is_called(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: object,
    arguments: str | None,
    returned: str | None,
) -> tuple[str | None, str | None] | None:
    """No constructor where users have no use for it; ``async with`` where it says generator."""
    if what == "class" and (obj in MADE_BY_THE_LIBRARY or getattr(obj, "_is_protocol", False)):
        return "", None
    is_context_manager = isasyncgenfunction(unwrap(obj)) and not isasyncgenfunction(obj)
    if is_context_manager and returned is not None:
        return arguments, returned.replace("AsyncIterator", "AsyncContextManager")
    return None


def skip_fields_of_named_tuples(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """The signature shows them; each would say "Alias for field number 0"."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def keep_drawings(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Make an indented block after a paragraph literal, as ``::`` at the paragraph's end would."""
    marked: list[str] = []
    paragraph = ""
    for line in lines:
        begins_block = line.startswith("    ") and marked and not marked[-1]
        if begins_block and paragraph and not paragraph.endswith("::"):
            marked += ["::", ""]
        if line:
            paragraph = "" if line.startswith(" ") else line
        marked.append(line)
    lines[:] = marked


def link_where_users_import_from(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: TextElement
) -> Element | None:
    """A type alias is named by the module that defines it, and listed under ``gossipbook``."""
    name = node["reftarget"].rpartition(".")[2]
    if node["refdomain"] != "py" or name not in gossipbook.__all__:
        return None
    page, public_name = node["refdoc"], f"gossipbook.{name}"
    python = env.domains["py"]
    return python.resolve_xref(env, page, app.builder, "obj", public_name, node, contents)

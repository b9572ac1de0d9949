# SPDX-License-Identifier: BSD-3-Clause
"""How the documentation is built: `make doc`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jinja2
from docutils import nodes
from sphinx import addnodes

# Before torch is imported. The examples have small networks, and some of them several processes:
# more threads than cores, which wait for each other by spinning, take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import api_reference  # noqa: E402 - its folder has to be on the path first

import skbait  # noqa: E402

project = "skbait"
author = "skbait developers"
copyright = author
version = release = skbait.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # equations without a network: the site has MathJax itself
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "name"  # see `link_names`

# Warnings are errors (-W in the Makefile). Names of other packages link nowhere, because no
# inventory of theirs is fetched: the build needs no network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(unittest|sklearn|skorch|torch|numpy|scipy|pandas|matplotlib|joblib)(\..*)?"),
]

# -- API reference: pages made from the one table ------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings have the types in words
numpydoc_show_class_members = False  # the template lists the methods


autosummary_context = {
    "own_members": {
        name: [(member, kind) for member, kind, _ in api_reference.members(obj)]
        for name, obj in api_reference.objects().items()
        if isinstance(obj, type)
    }
}


def write_api_pages():
    """Write the pages of the table; one that stays as it is, is not built again."""
    pages = [
        {
            "module": module,
            "title": title,
            "text": text,
            "sections": sections,
            "names": [name for _, names in sections for name in names],
        }
        for module, (title, text, sections) in api_reference.API_REFERENCE.items()
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "api"), trim_blocks=True, lstrip_blocks=True
    )
    for template, to_write in [("index", [None]), ("module", pages)]:
        for page in to_write:
            text = environment.get_template(f"{template}.rst.template").render(
                pages=pages, page=page
            )
            path = HERE / "api" / f"{page['module'] if page else 'index'}.rst"
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")


write_api_pages()

# -- Gallery -------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",  # scripts for the command line
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skbait",),
    "min_reported_time": 0,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}

# -- Look ----------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "skbait"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
# pages without pages below them have nothing to show in a sidebar
html_sidebars = {name: [] for name in ("start", "study", "benchmarks", "whats_new")}
html_show_sourcelink = False
html_copy_source = False
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "logo": {"text": "skbait"},
    "navbar_align": "left",
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
mathjax_path = "mathjax/tex-chtml.js"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
myst_heading_anchors = 3


# -- Names in single backticks -------------------------------------------------------------------


def link_names(role, rawtext, text, lineno, inliner, options=None, content=None):
    """Turn `Name` into a link where it is a class or function in the table, else into code.

    A word such as `represent` or `probabilities` is as often a method or a parameter: it has to
    come with its module, as `representation.represent`.
    """
    literal = nodes.literal(rawtext, text)
    name = text.removesuffix("()")
    if name.islower() and not {".", "_"} & set(name):
        return [literal], []
    for full in api_reference.objects():
        if full == name or full.endswith(f".{name}"):
            link = addnodes.pending_xref(
                rawtext,
                literal,
                refdomain="py",
                reftype="obj",
                reftarget=full,
                refdoc=inliner.document.settings.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            return [link], []
    return [literal], []


def describe_constants(app, what, name, obj, options, lines):
    """Describe a constant, whose own docstring is that of its type, by the words in the table."""
    if what == "data":
        lines[:] = [api_reference.CONSTANTS[name]]


def setup(app):
    """Register the role of names, and what describes constants."""
    app.add_role("name", link_names)
    app.connect("autodoc-process-docstring", describe_constants)

# SPDX-License-Identifier: BSD-3-Clause
"""The one table of the API reference: what is public, under which name, on which page.

`doc/conf.py` writes the pages from it, and `tests/test_documentation.py` holds it against the
`__all__` of every public module: nothing public is missing, nothing else is there. An object that
several modules offer stands here once, under the name by which to import it.
"""

from __future__ import annotations

import inspect
from importlib import import_module

# module -> (title of its page, what it is for, sections). A section is a heading, or None where
# the page needs none, and the names, as seen from the module.
API_REFERENCE = {
    "skbait": (
        "Learner and strategies",
        "Most work needs nothing but these names. The user guide says :doc:`which strategy to "
        "take </guide/choosing>` and :doc:`how the cycle goes </guide/cycle>`.",
        [
            ("The active learner", ["ActiveLearner"]),
            ("BAIT", ["BaitQuery"]),
            (
                "By uncertainty",
                ["MarginQuery", "LeastConfidenceQuery", "EntropyQuery", "BaldQuery"],
            ),
            (
                "By coverage of the pool",
                ["CoreSetQuery", "TypiClustQuery", "ProbCoverQuery", "MaxHerdingQuery"],
            ),
            (
                "By both",
                [
                    "BadgeQuery",
                    "AlfaMixQuery",
                    "DropQuery",
                    "FalcunQuery",
                    "UncertaintyHerdingQuery",
                ],
            ),
            ("An ensemble", ["RefineQuery", "RefinePool"]),
            ("To measure against: the floor and the ceiling", ["RandomQuery", "BossQuery"]),
            ("By name", ["make_query", "get_query_names"]),
            ("To write others", ["BaseQuery"]),
            ("The Laplace posterior", ["LaplaceClassifier"]),
        ],
    ),
    "skbait.model_selection": (
        "Comparing strategies",
        "Strategies at equal budget, from equal first labels, and what their results say.",
        [
            ("Running", ["compare_strategies", "read_results"]),
            (
                "What the results say",
                [
                    "summarize_strategies",
                    "labels_saved",
                    "area_under_curve",
                    "mean_curves",
                    "paired_tests",
                    "win_rates",
                    "win_matrix",
                ],
            ),
        ],
    ),
    "skbait.plotting": (
        "Plots",
        "Displays by scikit-learn's conventions. matplotlib is needed for them only.",
        [(None, ["AcquisitionCurveDisplay", "QueryDisplay", "WinMatrixDisplay"])],
    ),
    "skbait.datasets": (
        "Data sets",
        "Loaders of the data that the examples use, for everything that scikit-learn does not "
        "load itself.",
        [(None, ["fetch_cifar10", "fetch_cifar10_features"])],
    ),
    "skbait.laplace": (
        "The Laplace posterior",
        "A Gaussian over the last layer. :class:`~skbait.LaplaceClassifier` is its estimator.",
        [(None, ["TemperatureClassifier", "sample_heads"])],
    ),
    "skbait.representation": (
        "Representations",
        "From a fitted estimator and X to last-layer features and probabilities. "
        ":doc:`/guide/own_representation` says how to add a kind of estimator.",
        [
            ("What strategies ask for", ["represent", "probabilities", "rows_as_features"]),
            ("What they get", ["Representation", "Head"]),
            ("Whether they can", ["can_represent", "can_give_head"]),
            ("Computed once", ["memory.FeatureMemory"]),
        ],
    ),
    "skbait.strategies": (
        "Inside a strategy",
        "What :class:`~skbait.BaseQuery` hands to a strategy, and parts of strategies that others "
        "use too. :doc:`/guide/own_strategy` says how to write one.",
        [(None, ["View", "drop_query.drop_candidates"])],
    ),
    "skbait.fisher": (
        "Fisher information",
        "The mathematics of BAIT on torch tensors, without scikit-learn.",
        [("The choice", ["select", "Selection"]), ("Names", ["VARIANTS", "WEIGHTINGS"])],
    ),
    "skbait.utils": (
        "Checks and tools",
        "For those who write strategies and estimators: the checks that a strategy has to pass, "
        "and what deals with rows and labels of any kind.",
        [
            (
                "Checks of query strategies",
                [
                    "estimator_checks.check_query_strategy",
                    "estimator_checks.parametrize_with_query_checks",
                    "estimator_checks.query_checks",
                ],
            ),
            (
                "Rows",
                [
                    "data.num_rows",
                    "data.take_rows",
                    "joining.concatenate_rows",
                    "data.kind_of",
                    "data.row_shape",
                ],
            ),
            (
                "Labels",
                ["targets.has_label", "targets.as_vector", "targets.tidy", "targets.UNLABELED"],
            ),
            ("Fitting", ["fitting.fit_clone", "fitting.EncodedClassifier"]),
            (
                "What an estimator takes",
                ["introspection.input_tags_of", "introspection.takes_nan"],
            ),
            (
                "Validation",
                [
                    "validation.as_numbers",
                    "validation.check_rows",
                    "finite.check_finite",
                    "validation.check_number_of_rows",
                    "validation.seed_from",
                    "validation.same_on_failure",
                ],
            ),
        ],
    ),
}

# what has no docstring of its own
CONSTANTS = {
    "skbait.fisher.VARIANTS": "What `variant` may be, in `BaitQuery` and in `fisher.select`.",
    "skbait.fisher.WEIGHTINGS": "What `weighting` may be, in `BaitQuery` and in `fisher.select`.",
    "skbait.utils.targets.UNLABELED": "The mark, among numbers, of a row without a label.",
}


def objects():
    """Map every name in the table, with its module in front, to the object."""
    found = {}
    for module, (_, _, sections) in API_REFERENCE.items():
        for name in (name for _, names in sections for name in names):
            full = f"{module}.{name}"
            home, _, attribute = full.rpartition(".")
            found[full] = getattr(import_module(home), attribute)
    return found


def members(cls):
    """Yield name, kind and object of each public method and property written in this package.

    What a class inherits from scikit-learn is described there.
    """
    for name in dir(cls):
        if name.startswith("_"):
            continue
        # The class's own dictionary, not getattr: `available_if` answers by instance.
        raw = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
        function = raw
        if isinstance(raw, property):
            function = raw.fget
        elif isinstance(raw, (staticmethod, classmethod)):
            function = raw.__func__
        elif hasattr(raw, "fn"):  # scikit-learn's available_if
            function = raw.fn
        function = inspect.unwrap(function) if callable(function) else function
        ours = (getattr(function, "__module__", None) or "").startswith("skbait")
        if inspect.isfunction(function) and ours:
            is_property = isinstance(raw, property)
            yield name, "property" if is_property else "method", raw if is_property else function

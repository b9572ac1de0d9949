# SPDX-License-Identifier: BSD-3-Clause
"""Learners whose histories are drawn, and the names of their curves."""

from __future__ import annotations

from collections.abc import Mapping


def named_learners(learner):
    """Return lists of learners by the name of their curve.

    Parameters
    ----------
    learner : ActiveLearner, list of ActiveLearner, or dict of str to one of these
        What a display was given.

    Returns
    -------
    dict of str to list of ActiveLearner
        Fitted ones.
    """
    if isinstance(learner, Mapping):
        named = {
            str(name): list(each) if isinstance(each, (list, tuple)) else [each]
            for name, each in learner.items()
        }
    else:
        learners = list(learner) if isinstance(learner, (list, tuple)) else [learner]
        names = [" ".join(repr(_strategy_of(each)).split()) for each in learners]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(
                f"learner holds two learners with {twice[0]}: name them by a dict, such as "
                '{"first": ..., "second": ...}; {"name": [..., ...]} draws the mean of several.'
            )
        named = {name: [each] for name, each in zip(names, learners, strict=True)}
    if not named or not all(named.values()):
        raise ValueError(f"learner={learner!r} holds no learner to draw.")
    for name, learners in named.items():
        for each in learners:
            if not hasattr(each, "history_"):
                raise ValueError(
                    f"the learner {name!r} is a {type(each).__name__} without a history_: pass a "
                    "fitted ActiveLearner."
                )
    return named


def _strategy_of(learner):
    strategy = getattr(learner, "query_strategy", learner)
    return "BaitQuery()" if strategy is None else strategy

# SPDX-License-Identifier: BSD-3-Clause
"""Query strategies by the names that the literature has for them."""

from __future__ import annotations

from difflib import get_close_matches

from skbait.strategies.alfamix import AlfaMixQuery
from skbait.strategies.badge import BadgeQuery
from skbait.strategies.bait import BaitQuery
from skbait.strategies.bald import BaldQuery
from skbait.strategies.boss import BossQuery
from skbait.strategies.core_set import CoreSetQuery
from skbait.strategies.drop_query import DropQuery
from skbait.strategies.entropy import EntropyQuery
from skbait.strategies.falcun import FalcunQuery
from skbait.strategies.least_confidence import LeastConfidenceQuery
from skbait.strategies.margin import MarginQuery
from skbait.strategies.max_herding import MaxHerdingQuery
from skbait.strategies.probcover import ProbCoverQuery
from skbait.strategies.random import RandomQuery
from skbait.strategies.refine import RefineQuery
from skbait.strategies.typiclust import TypiClustQuery
from skbait.strategies.uncertainty_herding import UncertaintyHerdingQuery

__all__ = ["get_query_names", "make_query"]

# name -> class, and the parameters that the name stands for
_STRATEGIES = {
    "alfamix": (AlfaMixQuery, {}),
    "badge": (BadgeQuery, {}),
    "bait": (BaitQuery, {}),
    "bait_binary": (BaitQuery, {"variant": "binary"}),
    "bait_exact": (BaitQuery, {"variant": "exact"}),
    "bait_exp": (BaitQuery, {"variant": "exp"}),
    "bald": (BaldQuery, {}),
    "boss": (BossQuery, {}),
    "core_set": (CoreSetQuery, {}),
    "dropquery": (DropQuery, {}),
    "entropy": (EntropyQuery, {}),
    "falcun": (FalcunQuery, {}),
    "least_confidence": (LeastConfidenceQuery, {}),
    "margin": (MarginQuery, {}),
    "max_herding": (MaxHerdingQuery, {}),
    "probcover": (ProbCoverQuery, {}),
    "random": (RandomQuery, {}),
    "refine": (RefineQuery, {}),
    "typiclust": (TypiClustQuery, {}),
    "uncertainty_herding": (UncertaintyHerdingQuery, {}),
}

# other names of the literature
_ALIASES = {
    "best_of_strategies_selector": "boss",
    "k_center": "core_set",
    "k_center_greedy": "core_set",
    "least_confident": "least_confidence",
    "prob_cover": "probcover",
    "u_herding": "uncertainty_herding",
}


def make_query(name, **params):
    """Make a query strategy by its name in the literature.

    Parameters
    ----------
    name : str
        One of `get_query_names`. Upper and lower case, underscores, hyphens and blanks make no
        difference: "core_set", "CoreSet" and "core-set" are the same.
    **params : dict
        Parameters of the strategy, `estimator` among them.

    Returns
    -------
    BaseQuery
        A new strategy, not fitted.

    Raises
    ------
    ValueError
        If there is no strategy of that name.

    See Also
    --------
    get_query_names : All names.

    Examples
    --------
    >>> from skbait import make_query
    >>> make_query("BADGE", random_state=0)
    BadgeQuery(random_state=0)
    >>> make_query("bait_binary")
    BaitQuery(variant='binary')
    """
    if not isinstance(name, str):
        raise TypeError(
            f"name={name!r} must be a string, one of {', '.join(get_query_names())}; a strategy "
            "that is at hand can be used as it is."
        )
    known = {_plain(each): each for each in _STRATEGIES}
    known |= {_plain(alias): each for alias, each in _ALIASES.items()}
    found = known.get(_plain(name))
    if found is None:
        close = get_close_matches(_plain(name), known, n=1)
        hint = f" Did you mean {known[close[0]]!r}?" if close else ""
        raise ValueError(
            f"name={name!r} is not the name of a query strategy.{hint} The names are "
            f"{', '.join(get_query_names())}."
        )
    cls, preset = _STRATEGIES[found]
    return cls(**preset, **params)


def get_query_names():
    """Return the names that `make_query` takes.

    Returns
    -------
    list of str
        One a strategy, sorted.

    See Also
    --------
    make_query : Makes a strategy by its name.

    Examples
    --------
    >>> from skbait import get_query_names
    >>> get_query_names()[:3]
    ['alfamix', 'badge', 'bait']
    """
    return sorted(_STRATEGIES)


def _plain(name):
    """Return a name without what people write differently."""
    return "".join(letter for letter in name.lower() if letter not in "_- ")

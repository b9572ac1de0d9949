# SPDX-License-Identifier: BSD-3-Clause
"""Several strategies, data sets and seeds under one budget."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

from skbait._history import TolerantScorer
from skbait._start import number_drawn
from skbait.learner import ActiveLearner
from skbait.model_selection.fingerprints import fingerprint
from skbait.model_selection.records import ResultsFile, table_of
from skbait.model_selection.runs import DataSet, Run, Sizes, is_oracle
from skbait.strategies import make_query
from skbait.utils.validation import check_instance

__all__ = ["compare_strategies"]


def compare_strategies(
    estimator,
    strategies,
    X,
    y=None,
    *,
    budget,
    initial=10,
    batch_size=10,
    X_test=None,
    y_test=None,
    test_size=0.25,
    val_size=None,
    pool_size=None,
    scoring=None,
    seeds=5,
    n_jobs=None,
    on_error="raise",
    results_path=None,
    progress=True,
):
    """Compare query strategies: the same budget, splits and first labels for all of them.

    For each data set and seed the rows are split into a pool and test rows, and each strategy
    plays the cycle of :class:`~skbait.ActiveLearner` on the pool. After each round the model is
    scored on the test rows. Within a data set and seed, strategies differ by nothing but their
    choices: they can be compared in pairs.

    Parameters
    ----------
    estimator : classifier or None
        What learns; None stands for :class:`~sklearn.linear_model.LogisticRegression`.
    strategies : list of (str or query strategy), or dict of str to (str or query strategy)
        The strategies: names that :func:`~skbait.make_query` takes, or instances. The keys of a
        dict name them in the results; in a list a strategy is named by itself, an instance as
        Python prints it.
    X : data of n_rows rows, or dict of str to tuple
        The rows. Without `y`: a dict of named data sets, each ``(X, y)`` or
        ``(X, y, X_test, y_test)``.
    y : array-like of shape (n_rows,), default=None
        Their labels.
    budget : int
        Number of labels, the initial ones included.
    initial : int, float or query strategy, default=10
        Labels to begin with, as in :class:`~skbait.ActiveLearner`; a fraction is one of the pool.
    batch_size : int, default=10
        Labels a round.
    X_test, y_test : data and array-like, default=None
        Test rows and labels; None: they are split off X and y, for each seed anew.
    test_size : int or float, default=0.25
        How many rows are split off for tests, from a data set that brings no test rows: a number
        or a fraction.
    val_size : int, float or None, default=None
        How many rows are put aside for strategies that choose by held-out labels, such as
        :class:`~skbait.BossQuery`. No strategy meets them otherwise, and no score is taken on
        them. None: none are, and such a strategy is refused.
    pool_size : int, float or None, default=None
        How many of the other rows make the pool, drawn for each seed anew; None: all.
    scoring : str, callable, list, tuple or dict, default=None
        How test rows are scored, as in :func:`~sklearn.model_selection.cross_validate`; None:
        the `score` of the estimator.
    seeds : int or iterable of int, default=5
        The seeds, or their number: 5 stands for 0 to 4. A seed decides the split, the first
        labels, and every clone of the estimator and the strategy.
    n_jobs : int or None, default=None
        Runs at the same time, as in joblib. The scores do not depend on it. Threads take turns
        where models are fitted and asked, as global random states are seeded for the time;
        processes, joblib's default, do not.
    on_error : {"raise", "record"}, default="raise"
        What happens where a run raises an error. "raise": it is raised, with the strategy, the
        data set and the seed in its message. "record": the run has a single row in the results,
        without scores and with the text of the error, and a warning names it.
    results_path : str, path or None, default=None
        A file of JSON lines to which each run is added when it has ended. Runs that are in it
        are not made again, unless they failed. A run is recognised by the estimator and the
        strategy (class and parameters), the data and all other arguments, *not* by the source
        code: name a new file when that has changed. Functions and classes count by their names in
        their modules; those without one (lambdas, closures) by their code and by what they
        enclose, but not by the global variables that they read.
    progress : bool, default=True
        Whether to show a bar, on the standard error stream.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a round: `dataset` ("data" where there is one without a name), `strategy`, `seed`,
        `round`, `n_labels`, `score` (or `score_<name>` for several), `query_time` (NaN in the
        first round) and `fit_time` in seconds, and `error`, an empty text unless the run failed.
        A dict of columns where pandas is not installed.

    Raises
    ------
    RuntimeError
        If a run fails and `on_error` is "raise".

    See Also
    --------
    summarize_strategies : Means and standard errors of the results.
    paired_tests : Tests against a baseline.
    labels_saved : Labels needed for the accuracy that a baseline ends with.
    skbait.plotting.AcquisitionCurveDisplay : Draws the results.

    Notes
    -----
    An oracle and the others are scored on the same test rows, and choose from the same pool; what
    an oracle chooses by are the rows of `val_size`. So adding one to a comparison changes the
    curves of the others only if `val_size` is given for its sake.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait.model_selection import compare_strategies, summarize_strategies
    >>> X, y = load_digits(return_X_y=True)
    >>> results = compare_strategies(
    ...     None, ["random", "bait"], X / 16, y, budget=60, batch_size=25, seeds=2,
    ...     progress=False
    ... )
    >>> sorted(set(results["n_labels"]))
    [10, 35, 60]
    >>> list(summarize_strategies(results)["strategy"])
    ['bait', 'random']
    """
    if on_error not in ("raise", "record"):
        raise ValueError(f"on_error={on_error!r} has to be 'raise' or 'record'.")
    estimator = LogisticRegression() if estimator is None else estimator
    strategies = _named_strategies(strategies)
    datasets = _named_datasets(X, y, X_test, y_test)
    seeds = _as_seeds(seeds)
    scorer = TolerantScorer(estimator, scoring)
    sizes = Sizes(test_size, val_size, pool_size)
    if not (hasattr(initial, "query") or isinstance(initial, Real)):
        raise ValueError(
            f"initial={initial!r} has to be a number of rows, a fraction of the pool or a query "
            "strategy: positions would mean other rows with each seed."
        )
    check_instance(initial, "initial")
    learners = {}
    for name, strategy in strategies.items():
        learners[name] = ActiveLearner(
            estimator, strategy, initial=initial, budget=budget, batch_size=batch_size
        )
        learners[name]._validate_params()
        if is_oracle(strategy) and val_size is None:
            raise ValueError(
                f"val_size=None, but strategy {name!r} chooses by the labels of held-out rows: "
                "say how many rows to put aside for it, val_size=0.2 for one. They are missing in "
                "every strategy's pool."
            )
    file, runs = ResultsFile(results_path), []
    for dataset in datasets:
        n_pool = len(sizes.split(dataset, seeds[0])[0])
        if budget > n_pool:
            raise ValueError(
                f"budget={budget} is more than the {n_pool} rows of the pool of data set "
                f"{dataset.name!r}: make it smaller, or test_size and val_size."
            )
        if isinstance(initial, Real) and number_drawn(initial, n_pool) > budget:
            whole = isinstance(initial, Integral)
            of_rows = "" if whole else f" of the {n_pool} rows of {dataset.name!r}"
            raise ValueError(f"initial={initial!r} is more than budget={budget} labels{of_rows}.")
        about = {"sizes": vars(sizes), "scoring": scoring}
        if file.path is not None:  # else nothing is looked up, and large data need no hash
            about["data"] = fingerprint(**vars(dataset))
        for name, learner in learners.items():
            setting = "" if file.path is None else fingerprint(learner=learner, **about)
            runs += [Run(setting, dataset, name, seed, learner, sizes, scorer) for seed in seeds]
    return table_of(_play(runs, file, n_jobs, on_error, progress), _score_columns(scoring))


def _score_columns(scoring):
    """Return the columns of the scores, as far as they are known before any is made."""
    if scoring is None or isinstance(scoring, str) or callable(scoring):
        return ["score"]
    return [f"score_{name}" for name in scoring]


def _named_strategies(strategies):
    """Return strategies as a dict of instances by name."""
    if not isinstance(strategies, (Mapping, list, tuple)) or not len(strategies):
        raise ValueError(
            f"strategies={strategies!r} has to be a list of strategies (names or instances) or a "
            "dict of them, with one at least."
        )
    if not isinstance(strategies, Mapping):
        names = [each if isinstance(each, str) else _printed(each) for each in strategies]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(
                f"strategies holds {twice[0]!r} more than once: name strategies by a dict."
            )
        strategies = dict(zip(names, strategies, strict=True))
    for each in strategies.values():
        check_instance(each, "strategies")
    return {
        str(name): make_query(each) if isinstance(each, str) else each
        for name, each in strategies.items()
    }


def _printed(strategy):
    """Return what Python prints of a strategy, on one line."""
    return " ".join(repr(strategy).split())


def _named_datasets(X, y, X_test, y_test):
    """Return a list of data sets."""
    if y is not None:
        parts = (X, y) if X_test is None and y_test is None else (X, y, X_test, y_test)
        return [DataSet.of("data", parts)]
    if not isinstance(X, Mapping) or not len(X):
        raise ValueError(
            "y=None: give the labels of X, or a dict of data sets as X, such as "
            '{"digits": (X, y)}.'
        )
    if X_test is not None or y_test is not None:
        raise ValueError(
            "X_test and y_test go with a single X and y; in a dict of data sets they belong to "
            "their data set: (X, y, X_test, y_test)."
        )
    return [DataSet.of(str(name), parts) for name, parts in X.items()]


def _as_seeds(seeds):
    """Return a list of different seeds."""

    def whole(number):
        return isinstance(number, Integral) and not isinstance(number, bool)

    if whole(seeds) and seeds >= 1:
        return list(range(seeds))
    listed = list(seeds) if isinstance(seeds, Iterable) else []
    in_range = all(whole(seed) and 0 <= seed < 2**32 for seed in listed)
    if not listed or not in_range or len(set(listed)) < len(listed):
        raise ValueError(
            f"seeds={seeds!r} has to be a number of seeds, 1 or more, or an iterable of different "
            "integers from 0 to 2**32 - 1."
        )
    return [int(seed) for seed in listed]


def _play(runs, file, n_jobs, on_error, progress):
    """Return the records of runs, in their order, made now or read from a file."""
    keys = [(run.setting, run.dataset.name, run.name, run.seed) for run in runs]
    found = {key: record for key, record in file.read().items() if not record.error}
    todo = [run for key, run in zip(keys, runs, strict=True) if key not in found]
    # seed by seed: what is there after an interruption then compares all strategies
    todo = sorted(todo, key=lambda run: run.seed)
    if todo:
        file.prepare()
    jobs = (delayed(run.play)(on_error=on_error) for run in todo)
    # copy-on-write: networks warn of arrays that they may not write to
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", mmap_mode="c")
    bar = tqdm(total=len(runs), initial=len(runs) - len(todo), unit="run", disable=not progress)
    with bar:
        for record in parallel(jobs):
            file.add(record)
            found[record.key] = record
            bar.set_postfix_str(f"{record.strategy} on {record.dataset}")
            bar.update()
    failed = [found[key] for key in keys if found[key].error]
    if failed:
        first = failed[0]
        warnings.warn(
            f"{len(failed)} of {len(runs)} runs failed; their rows in the results have no scores. "
            f"The first: strategy {first.strategy!r} on data set {first.dataset!r} with seed "
            f"{first.seed}: {first.error}",
            FitFailedWarning,
            stacklevel=3,
        )
    return [found[key] for key in keys]

# SPDX-License-Identifier: BSD-3-Clause
"""Labels and the columns of a network: torch's losses take numbers 0..K-1, users have names."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d
from skorch import NeuralNetBinaryClassifier

from skbait.utils.net_rows import for_skorch
from skbait.utils.nets import find_nets

_BINARY_LOSSES = (torch.nn.BCELoss, torch.nn.BCEWithLogitsLoss)


def has_binary_loss(net) -> bool:
    """Tell whether a net is trained with one of torch's binary cross entropies.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    """
    criterion = net.criterion if isinstance(net.criterion, type) else type(net.criterion)
    return issubclass(criterion, _BINARY_LOSSES)


def fit_codes(estimator, X, codes, **fit_params):
    """Fit an estimator that holds a net on labels 0..K-1, in the dtype that its loss takes.

    Parameters
    ----------
    estimator : object
        A net, or an estimator that holds one.
    X : object
        The rows.
    codes : ndarray of shape (n_rows,)
        Labels 0..K-1.
    **fit_params : dict
        For the estimator's ``fit``.

    Returns
    -------
    object
        The estimator.
    """
    nets = find_nets(estimator)
    binary = any(map(has_binary_loss, nets))
    codes = np.asarray(codes).astype(np.float32 if binary else np.int64)
    estimator.fit(for_skorch(X, codes, net=nets[0] if nets else None), codes, **fit_params)
    return estimator


def encode(y, labels) -> np.ndarray:
    """Return the position of every label of y in `labels`.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
        Labels.
    labels : array-like of shape (K,)
        All labels, in the order of the columns.

    Returns
    -------
    ndarray of shape (n_rows,)
        Numbers 0..K-1, int64.

    Raises
    ------
    ValueError
        If y holds a label that is not in `labels`.
    """
    position = {label: i for i, label in enumerate(np.asarray(labels).tolist())}
    y = np.asarray(y).tolist()
    unknown = sorted({label for label in y if label not in position}, key=str)
    if unknown:
        raise ValueError(f"y holds {_listed(unknown)}, but the classes are {_listed(position)}.")
    return np.array([position[label] for label in y], dtype=np.int64)


def are_codes(labels) -> bool:
    """Tell whether labels are the numbers 0..K-1 already, in this order.

    Parameters
    ----------
    labels : ndarray of shape (K,)
        The labels of the columns. Whole numbers in floats count.
    """
    return labels.dtype.kind in "iuf" and np.array_equal(labels, np.arange(len(labels)))


def label_columns(net, y, classes, n_outputs: int | None) -> np.ndarray:
    """Return the label of every output column of a net, before it is fitted.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    y : ndarray of shape (n_rows,)
        The labels to fit on.
    classes : array-like or None
        All labels known to the caller.
    n_outputs : int or None
        Number of outputs of the module, where it is known.

    Returns
    -------
    ndarray of shape (K,)
        The labels, in the order of the columns.

    Raises
    ------
    ValueError
        If the labels and the outputs of the module do not fit each other. The message says what
        to set.
    """
    known = np.unique(y) if classes is None else np.union1d(np.asarray(classes), y)
    if isinstance(net, NeuralNetBinaryClassifier):
        return _two_labels(known)
    declared = getattr(net, "classes", None)
    if declared is not None and len(declared) > 0:
        declared = np.asarray(declared)
        if n_outputs is not None and len(declared) != n_outputs:
            raise ValueError(
                f"classes= on the net has {len(declared)} labels, but its module has {n_outputs} "
                "outputs: these numbers must agree."
            )
        if len(set(declared.tolist())) < len(declared):
            raise ValueError(
                f"classes= on the net is {_listed(declared.tolist())}, with a label more than "
                "once: give every output of the module a label of its own."
            )
        unknown = sorted(set(known.tolist()) - set(declared.tolist()), key=str)
        if unknown:
            raise ValueError(
                f"y holds {_listed(unknown)}, but classes= on the net is "
                f"{_listed(declared.tolist())}: list every label there, in the order of the "
                "module's outputs."
            )
        return declared
    if n_outputs is None or len(known) == n_outputs:
        return known
    if len(known) > n_outputs:
        raise ValueError(
            f"y has {len(known)} classes ({_listed(known.tolist())}), but the module of the net "
            f"has {n_outputs} outputs: give it as many outputs as there are classes."
        )
    beyond = [label for label in known.tolist() if label not in range(n_outputs)]
    if not hasattr(net, "classes"):  # a plain NeuralNet: labels are column numbers, or nothing
        if beyond:
            raise ValueError(
                f"y holds {_listed(beyond)}, but the {n_outputs} outputs of the module stand for "
                f"0..{n_outputs - 1}: use NeuralNetClassifier with classes=."
            )
        return np.arange(n_outputs)
    example = "range(10)" if n_outputs == 10 else f"range({n_outputs})"
    if beyond:
        example = f"[...], all {n_outputs} labels in the order of the outputs"
    raise ValueError(
        f"the labelled rows hold {len(known)} of the {n_outputs} classes that the module of the "
        f"net has outputs for ({_listed(known.tolist())}), so that columns and labels cannot be "
        f"matched: set classes={example} on the net."
    )


def _two_labels(known: np.ndarray) -> np.ndarray:
    """Return the labels of a binary net, of which one may not have been seen yet."""
    if len(known) == 2:
        return known
    if known.dtype.kind == "b":
        return np.array([False, True])
    if known.dtype.kind in "iuf" and set(known.tolist()) <= {0, 1}:
        return np.array([0, 1])
    if len(known) > 2:
        raise ValueError(
            f"NeuralNetBinaryClassifier takes two classes, but y holds {len(known)} "
            f"({_listed(known.tolist())}): use NeuralNetClassifier."
        )
    raise ValueError(
        f"all labelled rows are {_listed(known.tolist())}: label a row of the other class, or use "
        "labels 0 and 1."
    )


def _listed(labels) -> str:
    """Return labels for a message: all of a few, the first of many."""
    labels = [repr(label) for label in labels]
    if len(labels) > 12:
        labels = [*labels[:10], f"and {len(labels) - 10} more"]
    return ", ".join(labels)


def _inner_has(method):
    """Let a method exist only where the estimator inside has it."""

    def check(self):
        getattr(self.__dict__.get("estimator_", self.estimator), method)
        return True

    return check


class EncodedClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier that is fitted on 0..K-1 and speaks of the user's own labels.

    skorch's nets predict the number of a column. With strings, booleans, or numbers other than
    0..K-1 as labels, this wrapper stands between: it encodes y in ``fit`` and decodes in
    ``predict``. Every other attribute (``module_``, ``history``, ...) is the net's.

    Parameters
    ----------
    estimator : object
        A skorch net, or an estimator that holds one.
    classes : array-like of shape (K,) or None, default=None
        All labels, in the order of the columns; None: those in y, sorted.

    Attributes
    ----------
    estimator_ : object
        The fitted clone of `estimator`.
    classes_ : ndarray of shape (K,)
        The labels, sorted, as scikit-learn's scorers take them to be.
    columns_ : ndarray of shape (K,), int64
        Which output of the net each of them is.

    See Also
    --------
    fit_clone : Puts it around a net where it is needed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.utils.fitting import EncodedClassifier
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> y = np.array(["cat", "cat", "dog", "dog"])
    >>> model = EncodedClassifier(LogisticRegression()).fit(X, y)
    >>> model.predict(X[:1]), model.estimator_.classes_
    (array(['cat'], dtype='<U3'), array([0, 1]))
    """

    def __init__(self, estimator, classes=None):
        self.estimator = estimator
        self.classes = classes

    def fit(self, X, y, **fit_params):
        """Fit a clone of the estimator on encoded labels.

        Parameters
        ----------
        X : object
            The rows.
        y : array-like of shape (n_rows,)
            Their labels.
        **fit_params : dict
            For the estimator's ``fit``.

        Returns
        -------
        EncodedClassifier
            This object.
        """
        y = column_or_1d(y)
        labels = np.unique(y) if self.classes is None else np.asarray(self.classes)
        codes = encode(y, labels)
        self.estimator_ = fit_codes(clone(self.estimator), X, codes, **fit_params)
        self.classes_, self.columns_ = np.unique(labels, return_index=True)
        return self

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : object
            The rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            The labels.
        """
        check_is_fitted(self)
        labels = self.classes_[np.argsort(self.columns_)]  # of the columns, as they are inside
        return labels[np.asarray(self.estimator_.predict(X)).astype(np.int64)]

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X):
        """Predict probabilities, one column a label of ``classes_``.

        Parameters
        ----------
        X : object
            The rows.

        Returns
        -------
        ndarray of shape (n_rows, K)
            The probabilities.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)[:, self.columns_]

    def __getattr__(self, name):
        # Only called for what is not found here. Dunders are for pickle and copy to look up, and
        # partial_fit would hand on labels that are not encoded.
        fitted = self.__dict__.get("estimator_")
        if fitted is None or name.startswith("__") or name == "partial_fit":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(fitted, name)

    def __sklearn_is_fitted__(self):
        return "estimator_" in self.__dict__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

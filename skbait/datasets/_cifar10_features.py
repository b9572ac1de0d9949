# SPDX-License-Identifier: BSD-3-Clause
"""CIFAR-10 as features of a pretrained network, from a file that the user has made.

``cifar10_features.npz`` holds the arrays ``X_train`` (N, D), ``y_train`` (N,), ``X_test`` and
``y_test``. Features are of any floating type and of any network, for as many of the images as one
likes. Nobody offers such a file, so it is not downloaded: `RECIPE` makes it.
"""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skbait.datasets._arrays import CLASSES, arrays_in, as_labels
from skbait.datasets._home import find_data_home

FEATURES = "cifar10_features.npz"

# What makes the file, the same as in the docstring below.
RECIPE = """\
import numpy as np
import torch
from torchvision.models import EfficientNet_B0_Weights, efficientnet_b0
from skbait.datasets import fetch_cifar10

weights = EfficientNet_B0_Weights.DEFAULT
net = efficientnet_b0(weights=weights).eval()
net.classifier = torch.nn.Identity()  # features, not the classes of ImageNet
arrays = {}
for part in ("train", "test"):
    images, arrays[f"y_{part}"] = fetch_cifar10(subset=part, return_X_y=True)
    batches = torch.from_numpy(images).permute(0, 3, 1, 2).split(100)
    with torch.inference_mode():
        features = [net(weights.transforms()(batch)).half() for batch in batches]
    arrays[f"X_{part}"] = torch.cat(features).numpy()
np.savez("cifar10_features.npz", **arrays)
"""

_DESCRIPTION = """\
CIFAR-10 as features that a pretrained network gives of its images of 32 x 32 pixels, ten classes.
Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""


def fetch_cifar10_features(data_home=None, *, subset="train", return_X_y=False):
    """Load features of the CIFAR-10 images, as a pretrained network has made them.

    The data home is searched for ``cifar10_features.npz`` (arrays `X_train`, `y_train`, `X_test`,
    `y_test`; features of any network, and of as many of the images as one likes). There is
    nowhere to download it from. The notes below say how to make it.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder to look in. By default the environment variable ``SKBAIT_DATA``, and where that
        is not set, scikit-learn's :func:`~sklearn.datasets.get_data_home`.
    subset : {"train", "test", "all"}, default="train"
        The rows to load; "all" puts the test rows after the training rows.
    return_X_y : bool, default=False
        Whether to return only the pair of features and labels.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with `data` (n, n_features) float32, `target` (n,) int64, `target_names` and
        `DESCR`; or, with `return_X_y`, the tuple ``(data, target)``.

    Raises
    ------
    OSError
        If the file is not at hand, or is not of the form above.

    See Also
    --------
    fetch_cifar10 : The images themselves.

    Notes
    -----
    Any pretrained network will do. With torchvision (or timm), which skbait itself does not need,
    these lines make the file in the present folder; on a CPU they take their time::

        import numpy as np
        import torch
        from torchvision.models import EfficientNet_B0_Weights, efficientnet_b0
        from skbait.datasets import fetch_cifar10

        weights = EfficientNet_B0_Weights.DEFAULT
        net = efficientnet_b0(weights=weights).eval()
        net.classifier = torch.nn.Identity()  # features, not the classes of ImageNet
        arrays = {}
        for part in ("train", "test"):
            images, arrays[f"y_{part}"] = fetch_cifar10(subset=part, return_X_y=True)
            batches = torch.from_numpy(images).permute(0, 3, 1, 2).split(100)
            with torch.inference_mode():
                features = [net(weights.transforms()(batch)).half() for batch in batches]
            arrays[f"X_{part}"] = torch.cat(features).numpy()
        np.savez("cifar10_features.npz", **arrays)

    Made of what :func:`fetch_cifar10` gives, as here, the rows are those of its images, in the
    same order.

    Examples
    --------
    >>> from skbait.datasets import fetch_cifar10_features
    >>> X, y = fetch_cifar10_features(subset="test", return_X_y=True)    # doctest: +SKIP
    >>> X.shape                                                          # doctest: +SKIP
    (10000, 1280)
    """
    if subset not in ("train", "test", "all"):
        raise ValueError(f"subset must be 'train', 'test' or 'all', got {subset!r}")
    path = find_data_home(data_home) / FEATURES
    if not path.exists():
        raise OSError(
            f"The features of CIFAR-10 are not in {path.parent}, and there is nowhere to download "
            f"them from. Name the folder that has {FEATURES} as data_home= or in the environment "
            f"variable SKBAIT_DATA. To make the file, in the present folder:\n\n{RECIPE}"
        )
    features, labels = _read(path, ("train", "test") if subset == "all" else (subset,))
    if return_X_y:
        return features, labels
    return Bunch(data=features, target=labels, target_names=list(CLASSES), DESCR=_DESCRIPTION)


def _read(path, parts):
    """Read the features and labels of some parts from the file, checked."""
    form = "features of CIFAR-10 as arrays X_train, y_train, X_test, y_test"
    with arrays_in(path, form=form) as arrays:
        read = [_checked(arrays[f"X_{part}"], arrays[f"y_{part}"], part) for part in parts]
        features, labels = (np.concatenate(each) for each in zip(*read, strict=True))
    return features, labels


def _checked(X, y, part):
    """Return the features (n, D) float32 and labels (n,) int64 of a part, or say what is wrong."""
    if X.ndim != 2 or X.dtype.kind != "f":
        raise ValueError(f"X_{part} must be (n, n_features) floats, got {X.shape} {X.dtype}")
    labels = as_labels(y, len(X), f"y_{part}")
    # what networks and linear models compute in; float16 would overflow in sums
    X = X.astype(np.float32, copy=False)
    if not np.isfinite(X).all():
        raise ValueError(f"X_{part} has NaN or infinite values; float16 ends at 65504")
    return X, labels

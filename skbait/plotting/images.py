# SPDX-License-Identifier: BSD-3-Clause
"""Rows that are images."""

from __future__ import annotations

import numpy as np

from skbait.utils.data import kind_of, on_host, row_shape

_CHANNELS = (1, 3)


def look_like_images(X):
    """Tell whether the rows of X are images by their shape."""
    if kind_of(X) not in ("array", "tensor"):
        return False
    shape = row_shape(X)
    return len(shape) == 2 or (
        len(shape) == 3 and (shape[0] in _CHANNELS or shape[2] in _CHANNELS)
    )


def as_images(X, image_shape):
    """Return rows as images between 0 and 1.

    Parameters
    ----------
    X : array, tensor, data frame or list of n rows
        The rows.
    image_shape : tuple of int or None
        Shape of one image; None: that of a row.

    Returns
    -------
    ndarray of float64 of shape (n, height, width) or (n, height, width, 3)
        The images. Bytes are divided by 255; other values are stretched, the smallest of all to
        0 and the largest to 1. NaN is white.
    """
    X = on_host(X)
    if kind_of(X) not in ("array", "frame", "list"):
        raise TypeError(
            f"kind='images' takes arrays and tensors, not a {type(X).__name__}: pass the images "
            "as an array of shape (n_rows, height, width) or (n_rows, channels, height, width)."
        )
    images = np.asarray(X)
    scale = 255.0 if images.dtype == np.uint8 else None
    images = images.astype(np.float64)
    if image_shape is not None:
        if np.ndim(image_shape) != 1:
            raise ValueError(
                f"image_shape={image_shape!r} has to be (height, width) or (channels, height, "
                "width)."
            )
        shape = tuple(image_shape)
        if np.prod(shape) != np.prod(images.shape[1:]):
            raise ValueError(
                f"image_shape={shape} has {np.prod(shape)} values, but a row has "
                f"{np.prod(images.shape[1:])}."
            )
        images = images.reshape(len(images), *shape)
    if not look_like_images(images):
        raise ValueError(
            f"rows of shape {images.shape[1:]} are no images of one or three channels: give "
            "image_shape, (height, width) or (channels, height, width)."
        )
    if images.ndim == 4 and images.shape[3] not in _CHANNELS:
        images = np.moveaxis(images, 1, 3)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if scale is not None:
        return images / scale
    finite = images[np.isfinite(images)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    stretched = (images - low) / (high - low) if high > low else images - low
    if images.ndim == 4:
        stretched[np.isnan(images).any(axis=3)] = 1.0
    return np.nan_to_num(stretched, nan=1.0, posinf=1.0, neginf=0.0)

# SPDX-License-Identifier: BSD-3-Clause
"""Hundreds of steps in float32 make the picks of float64, and those of a fresh inverse a step.

The scores of the fast code are carried from step to step. Features as convolutional networks
give them (nonnegative, far from centred, one direction a thousand times as long as the others)
under a small λ are where carried scores would lose their digits first.
"""

from __future__ import annotations

from functools import cache

import pytest
import reference
import torch
from fisher_problems import DEVICES, random_rows

from skbait.fisher import select

FORMS = ["dense", "factored"]


@cache
def solved(kind, variant, regularization, dtype):
    """80 forward steps and 40 removals by the reference, each from a fresh M; P = 120 or 20."""
    rows = medium(kind).map(lambda t: t.to(dtype))
    problem = rows.problem(40, variant=variant, regularization=regularization)
    return reference.select(problem, 40)


def medium(kind):
    return random_rows(
        seed=101, n_pool=250, n_labeled=12, n_features=20, n_classes=6, kind=kind, logit_scale=0.5
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regularization", ["auto", 1e-2])
@pytest.mark.parametrize("kind", ["gauss", "cnn"])
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_many_steps_against_a_fresh_inverse_each(variant, kind, regularization, dtype, form):
    rows = medium(kind).map(lambda t: t.to(dtype))
    expected = solved(kind, variant, regularization, dtype)
    assert expected.gap > reference.TIE
    options = {"variant": variant, "regularization": regularization, "form": form}
    assert select(*rows.args, 40, **options).positions.tolist() == expected.picks


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("variant", "kind", "regularization"),
    [
        ("exp", "gauss", "auto"),
        ("exp", "cnn", "auto"),
        ("exp", "cnn", 1e-2),
        ("exact", "cnn", "auto"),
    ],
)
def test_float32_at_four_thousand_parameters(variant, kind, regularization, device):
    """K·D = 4,000, 200 forward steps and 100 removals."""
    rows = random_rows(
        seed=103, n_pool=1500, n_labeled=50, n_features=400, n_classes=10, kind=kind,
        logit_scale=0.3 if kind == "gauss" else 1.0,
    )  # fmt: skip
    rows = rows.map(lambda t: t.float().to(device))
    options = {"variant": variant, "regularization": regularization}
    in_float32 = select(*rows.args, 100, **options).positions
    in_float64 = select(*rows.map(torch.Tensor.double).args, 100, **options).positions
    assert in_float32.tolist() == in_float64.tolist()


@cache
def solved_binary(regularization, dtype):
    problem = (
        wide()
        .map(lambda t: t.to(dtype))
        .problem(60, variant="binary", regularization=regularization)
    )
    return reference.select(problem, 60)


def wide():
    return random_rows(
        seed=107, n_pool=600, n_labeled=20, n_features=128, n_classes=10, kind="cnn"
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regularization", ["auto", 1e-2])
def test_binary_with_a_dominant_mean(regularization, dtype, form):
    """128 raw columns of norm ~ 32, 120 forward steps and 60 removals."""
    rows = wide().map(lambda t: t.to(dtype))
    expected = solved_binary(regularization, dtype)
    options = {"variant": "binary", "regularization": regularization, "form": form}
    assert select(*rows.args, 60, **options).positions.tolist() == expected.picks

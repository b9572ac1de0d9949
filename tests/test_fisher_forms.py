# SPDX-License-Identifier: BSD-3-Clause
"""What the dense and the factored form say of M and F, against matrices written out."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from fisher_problems import DEVICES, VARIANTS, random_rows
from fisher_problems import one_thread as one_thread  # autouse

from skbait.fisher import forward, select
from skbait.fisher.dense import DenseForm
from skbait.fisher.factored import FactoredForm
from skbait.fisher.factors import factor
from skbait.fisher.problem import Problem
from skbait.fisher.rows import Rows, explicit

LAMBDA = 0.3


def written_out(rows):
    """V of some rows, (P, m·r)."""
    return explicit(*rows.exact(slice(None)))


def problem_of(seed, variant, top_c, n_features, device, dtype=torch.float64):
    """A problem of seven choices, its M₀ and its F."""
    tensors = random_rows(seed=seed, n_pool=30, n_labeled=6, n_features=n_features, n_classes=4)
    tensors = tensors.map(lambda t: t.to(device))
    top_c = 4 if top_c == "K" else top_c
    make_factor = partial(factor, variant=variant, top_c=top_c)
    pool = Rows(tensors.h.to(dtype), tensors.p, make_factor, chunk_size=7)
    labeled = Rows(tensors.h_labeled.to(dtype), tensors.p_labeled, make_factor)
    v, v_labeled = written_out(pool), written_out(labeled)
    eye = torch.eye(len(v), dtype=v.dtype, device=device)
    precision = LAMBDA * eye + v_labeled @ v_labeled.T
    fisher = (v @ v.T + v_labeled @ v_labeled.T) / 36
    return Problem(pool, labeled, [pool, labeled], LAMBDA, 1.0, 7), precision, fisher


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", [DenseForm, FactoredForm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_exact_blocks_of_a_few_rows(variant, top_c, dtype, form, device, seed):
    problem, precision, fisher = problem_of(seed, variant, top_c, 5, device, dtype)
    found = form(problem).own_blocks([4, 29, 0])
    inverse, rank = torch.linalg.inv(precision), problem.pool.rank
    for i, row in enumerate([4, 29, 0]):
        v = written_out(problem.pool)[:, row * rank : (row + 1) * rank]
        for block, matrix in zip(found, (inverse, inverse @ fisher @ inverse), strict=True):
            assert block.shape == (3, rank, rank)
            torch.testing.assert_close(block[i], v.T @ matrix @ v)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", [DenseForm, FactoredForm])
@pytest.mark.parametrize("n_features", [3, 60])  # of many features products with kernels are fewer
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_what_a_removal_costs(variant, top_c, n_features, form, device, seed):
    problem, precision, fisher = problem_of(seed, variant, top_c, n_features, device)
    rows = torch.tensor([3, 11, 17, 0, 25, 8, 29], device=device)
    e, d = form(problem).removal(rows)
    v = written_out(problem.pool.take(rows))
    inverse = torch.linalg.inv(precision + v @ v.T)
    eye = torch.eye(v.shape[1], dtype=v.dtype, device=device)
    torch.testing.assert_close(e, eye - v.T @ inverse @ v)
    torch.testing.assert_close(d, v.T @ inverse @ fisher @ inverse @ v)


@pytest.mark.parametrize("n_rows", [10, 200, 1500])
@pytest.mark.parametrize("variant", ["binary", "exp", "exact"])
def test_scores_for_the_user_are_exact_where_rounding_shows(variant, n_rows, seed, monkeypatch):
    """Of few rows, of many, and of so many that all are made anew."""
    rows = random_rows(seed=seed, n_pool=2000, n_labeled=20, n_features=12, n_classes=4)
    expected = select(*rows.args, 2, variant=variant).gains
    spoilt = torch.randperm(2000, generator=torch.Generator().manual_seed(seed))[:n_rows]
    right = forward.Forward.first_gains
    before = []

    def spoil(self):
        if not before:
            before.append(self.gains.clone())
            self.gains[spoilt] *= 1.05
            self.spreads[spoilt] = 0.1 * self.gains[spoilt] / self.error
        return right(self)

    monkeypatch.setattr(forward.Forward, "first_gains", spoil)
    found = select(*rows.map(lambda t: t.to(torch.float32)).args, 2, variant=variant).gains
    assert before
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))

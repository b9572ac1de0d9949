# SPDX-License-Identifier: BSD-3-Clause
"""What the dense and the factored form say of M and F, against matrices written out."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from fisher_problems import DEVICES, VARIANTS, random_rows
from fisher_problems import one_thread as one_thread  # autouse

from skbait.fisher import factored, forward, select
from skbait.fisher.cost import removes_by_directions
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
@pytest.mark.parametrize("directions", [False, True, None])  # None: in the dense form
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])  # of the labelled rows; 0: there are none
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_what_removals_cost(variant, top_c, dtype, weight, directions, device, seed, monkeypatch):
    problem, _, _ = problem_of(seed, variant, top_c, 9, device, dtype)
    pool, labeled = problem.pool, problem.labeled
    v, v_labeled = written_out(pool), written_out(labeled)
    precision = LAMBDA * torch.eye(len(v), dtype=v.dtype, device=device)
    precision += weight * v_labeled @ v_labeled.T
    if weight:
        drawn = [pool.take(torch.arange(20, device=device)), labeled]
        v_drawn = torch.cat([v[:, : 20 * pool.rank], v_labeled], dim=1)
    else:
        labeled, drawn, v_drawn = None, [pool], v
    fisher = v_drawn @ v_drawn.T / sum(map(len, drawn))
    problem = Problem(pool, labeled, drawn, LAMBDA, weight, 7)
    rows = torch.tensor([3, 11, 17, 0, 25, 8, 29], device=device)
    monkeypatch.setattr(factored, "removes_by_directions", lambda *args: directions)
    e, d = (DenseForm if directions is None else FactoredForm)(problem).removal(rows)
    v = written_out(pool.take(rows))
    inverse = torch.linalg.inv(precision + v @ v.T)
    eye = torch.eye(v.shape[1], dtype=v.dtype, device=device)
    torch.testing.assert_close(e, eye - v.T @ inverse @ v)
    torch.testing.assert_close(d, v.T @ inverse @ fisher @ inverse @ v)


def test_removals_take_what_was_measured_to_be_quicker():
    """(K, D, N, L, m): those of many classes and few rows by kernels, others by directions."""
    for sizes, expected in (
        ((10, 384, 10_000, 100, 40), True),
        ((20, 256, 1000, 100, 40), True),
        ((40, 256, 1000, 60, 20), True),
        ((77, 512, 300, 0, 20), False),
        ((77, 512, 300, 20, 10), False),
        ((77, 512, 1000, 0, 10), False),
        ((30, 512, 600, 0, 40), False),
        ((20, 512, 500, 10, 40), False),
    ):
        n_classes, n_features, n_pool, n_labeled, n_chosen = sizes
        make_factor = partial(factor, variant="exact", top_c=2)
        pool = Rows(torch.ones(1, n_features), torch.ones(1, n_classes), make_factor)
        assert removes_by_directions(pool, n_labeled, n_pool, n_chosen) is expected, sizes


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

# SPDX-License-Identifier: BSD-3-Clause
"""Choices played in one go against the same a step at a time."""

from __future__ import annotations

import pytest
import torch
from fisher_problems import DEVICES, random_rows
from fisher_problems import one_thread as one_thread  # autouse

from skbait.fisher import ahead, backward, foresight, select
from skbait.fisher.blocks import downdate, gain
from skbait.fisher.course import course, play
from skbait.fisher.foresight import OUTSIDE, foresee


def dense_state(seed, n_rows=30, size=7):
    """V (N, P), M⁻¹ and M⁻¹FM⁻¹ of a problem of rank one."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(n_rows, size, generator=generator, dtype=torch.float64)
    fisher = v.T @ v / n_rows
    inverse = torch.linalg.inv(0.3 * torch.eye(size, dtype=v.dtype) + v[:4].T @ v[:4])
    return v, inverse, inverse @ fisher @ inverse, fisher


def after_choices(v, inverse, fisher, rows):
    """a and c (N,) of all rows once `rows` were added to M, from a fresh inverse."""
    m = torch.linalg.inv(torch.linalg.inv(inverse) + v[rows].T @ v[rows])
    return ((v @ m) * v).sum(1), ((v @ m @ fisher @ m) * v).sum(1)


def course_of(v, inverse, sandwich, rows):
    """The course, and P̂ and 2 Ŵ (N, 2, k) of all rows."""
    columns = v[rows].T
    found = course(columns, inverse @ columns, sandwich @ columns)
    return found, torch.stack([v @ found.u, 2.0 * (v @ found.w)], dim=1)


def test_a_course_is_its_steps(seed):
    v, inverse, sandwich, fisher = dense_state(seed)
    rows = [5, 17, 2, 29, 11]
    blocks = torch.stack([((v @ inverse) * v).sum(1), ((v @ sandwich) * v).sum(1)], dim=1)
    worked_out, products = course_of(v, inverse, sandwich, rows)
    out = torch.empty(len(v), 2, 5, dtype=v.dtype)
    everything = torch.full((4,), -1.0, dtype=v.dtype)
    lost = torch.zeros(len(v), dtype=v.dtype)
    assert len(play(products, blocks, everything, lost, out)) == 4 * len(v)
    for j, s in enumerate(rows):
        a_before, c_before = after_choices(v, inverse, fisher, rows[:j])
        assert worked_out.gains[j] == pytest.approx(float(c_before[s] / (1 + a_before[s])))
        assert worked_out.precisions[j] == pytest.approx(1 + float(a_before[s]))
        a_after, c_after = after_choices(v, inverse, fisher, rows[: j + 1])
        torch.testing.assert_close(out[:, 0, j], a_after)
        torch.testing.assert_close(out[:, 1, j], c_after)
    changed = inverse - worked_out.u @ worked_out.u.T
    expected = torch.linalg.inv(torch.linalg.inv(inverse) + v[rows].T @ v[rows])
    torch.testing.assert_close(changed, expected)
    half = worked_out.u @ worked_out.w.T
    torch.testing.assert_close(sandwich - half - half.T, expected @ fisher @ expected)


def test_play_finds_every_score_that_is_not_below_the_threshold(seed):
    v, inverse, sandwich, fisher = dense_state(seed)
    rows = [5, 17, 2]
    blocks = torch.stack([((v @ inverse) * v).sum(1), ((v @ sandwich) * v).sum(1)], dim=1)
    _, products = course_of(v, inverse, sandwich, rows)
    scores = []
    for j in (1, 2):
        a_now, c_now = after_choices(v, inverse, fisher, rows[:j])
        scores.append(c_now / (1 + a_now))
    scores = torch.stack(scores, dim=1)
    threshold = scores.median(dim=0).values * (1 + 1e-9)
    lost = torch.zeros(len(v), dtype=v.dtype)
    out = torch.empty(len(v), 2, 3, dtype=v.dtype)
    found = play(products.clone(), blocks, threshold, lost, out)
    assert found.tolist() == (scores >= threshold).nonzero().tolist()
    lost[7] = 1e9
    found = play(products, blocks, threshold, lost, out)
    assert found[found[:, 0] == 7].tolist() == [[7, 0], [7, 1]]


def test_a_course_ends_where_rounding_left_nothing_positive_definite():
    eye = torch.eye(3, dtype=torch.float64)
    u = torch.diag(torch.tensor([1.0, -3.0, 1.0], dtype=torch.float64))
    assert len(course(eye, u, eye)) == 1


def choices_by_updates(v, inverse, sandwich, n):
    """Choices after row 0, with an update of every block after every choice."""
    pi, gamma = v @ inverse @ v.T, v @ sandwich @ v.T
    a, c = pi.diagonal().clone()[:, None, None], gamma.diagonal().clone()[:, None, None]
    chosen, best = [0], []
    p_all, q_all = pi.clone(), gamma.clone()
    for _ in range(n - 1):
        s = chosen[-1]
        g = 1 / (1 + a[s])
        p, q, c_s = p_all[:, s].clone(), q_all[:, s].clone(), c[s].clone()
        downdate(a, c, p[:, None, None], q[:, None, None], g, c_s)
        g = float(g)
        half = q - 0.5 * g * float(c_s) * p
        q_all -= (torch.outer(half, p) + torch.outer(p, half)) * g
        p_all -= torch.outer(p, p) * g
        scores = gain(a, c)[0]
        scores[chosen] = -torch.inf
        chosen.append(int(scores.argmax()))
        best.append(float(scores.max()))
    return chosen, best


@pytest.mark.parametrize("followed", [1, 6, 40])
def test_choices_are_foreseen_as_they_come(followed, seed, monkeypatch):
    monkeypatch.setattr(foresight, "FOLLOWED", followed)
    v, inverse, sandwich, _ = dense_state(seed, n_rows=40)
    expected, _ = choices_by_updates(v, inverse, sandwich, 8)
    a, c = ((v @ inverse) * v).sum(1), ((v @ sandwich) * v).sum(1)
    matrices = torch.cat([inverse, sandwich])
    assert foresee(v, matrices, a, c, 8) == expected
    assert foresee(v.float(), matrices.float(), a, c, 8) == expected


def test_row_0_comes_first_whatever_the_scores():
    v, inverse, sandwich, _ = dense_state(3, n_rows=40)
    a, c = ((v @ inverse) * v).sum(1), ((v @ sandwich) * v).sum(1)
    matrices = torch.cat([inverse, sandwich])
    for bad in (torch.inf, torch.nan):
        broken = c.clone()
        broken[[7, 9]] = bad
        assert foresee(v, matrices, a, broken, 5)[0] == 0
    h = 1e6 * v[:, :6]
    p = torch.softmax(v[:, :2], dim=1)
    options = {"variant": "binary", "regularization": 1e-8, "oversample": 1.0}
    with pytest.warns(RuntimeWarning, match="decided by the rounding"):
        first = [select(h, p, None, None, n, **options).positions[0] for n in (1, 5)]
    assert first[0] == first[1]


@pytest.mark.parametrize("followed", [6, 40])
def test_foresight_ends_where_others_are_better(followed, seed, monkeypatch):
    monkeypatch.setattr(foresight, "FOLLOWED", followed)
    v, inverse, sandwich, _ = dense_state(seed, n_rows=40)
    expected, best = choices_by_updates(v, inverse, sandwich, 12)
    a, c = ((v @ inverse) * v).sum(1), ((v @ sandwich) * v).sum(1)
    matrices = torch.cat([inverse, sandwich])
    monkeypatch.setattr(foresight, "STRIDE", 1)
    for n in (3, 9):  # the n-th choice has a score just above what ends it, the next one not
        lowest = min(best[: n - 1])
        outside = (lowest - 1e-9) / OUTSIDE
        got = foresee(v, matrices, a, c, 12, outside)
        ends = next((i for i, x in enumerate(best) if x < OUTSIDE * outside), len(best))
        assert got == expected[: ends + 1]
        assert len(got) >= n


@pytest.mark.parametrize("n_keep", [1, 7, 20])
def test_removal_of_rank_one_by_the_definition(n_keep, seed):
    """With every row there twice as well: ties, of which the row chosen last goes."""
    for copies in (1, 2):
        v, inverse, _, fisher = dense_state(seed, n_rows=24 // copies)
        v = v.repeat(copies, 1)
        m = torch.linalg.inv(torch.linalg.inv(inverse) + v.T @ v)
        e, d = torch.eye(24, dtype=v.dtype) - v @ m @ v.T, v @ m @ fisher @ m @ v.T
        got, margin = backward.keep(e.clone(), d.clone(), 1, n_keep, [-1] * len(e))
        left = list(range(24))
        margins = []
        while len(left) > n_keep:
            m = torch.linalg.inv(torch.linalg.inv(inverse) + v[left].T @ v[left])
            e = 1.0 - ((v[left] @ m) * v[left]).sum(1)
            cost = ((v[left] @ m @ fisher @ m) * v[left]).sum(1) / e
            cheapest = (cost <= cost.min() * (1 + 1e-9)).nonzero()[:, 0]
            left.pop(int(cheapest[-1]))
            least, second = cost.sort().values[:2]
            margins.append(float((second - least) / least))
        assert got.tolist() == left
        assert margin == pytest.approx(min(margins), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["gauss", "cnn", "clusters"])
def test_playing_ahead_changes_no_pick(kind, dtype, device, seed, monkeypatch):
    """However many choices are foreseen, among however few rows."""
    rows = random_rows(
        seed=seed, n_pool=300, n_labeled=10, n_features=24, n_classes=5, kind=kind, logit_scale=0.3
    ).map(lambda t: t.to(dtype).to(device))
    options = {"variant": "binary", "form": "dense"}
    with monkeypatch.context() as one_at_a_time:
        one_at_a_time.setattr(ahead.ForwardAhead, "_certain", lambda self, j: j)
        expected = select(*rows.args, 60, **options).positions.tolist()
    with monkeypatch.context() as a_pass_each:
        a_pass_each.setattr(ahead, "AHEAD", 1)
        assert select(*rows.args, 60, **options).positions.tolist() == expected
    assert select(*rows.args, 60, **options).positions.tolist() == expected
    for candidates in [2, 30]:
        monkeypatch.setattr(ahead, "CANDIDATES", candidates)
        assert select(*rows.args, 60, **options).positions.tolist() == expected
    monkeypatch.setattr(
        ahead, "foresee", lambda v, _, a, c, most, outside: list(range(min(most, 5, len(a))))
    )
    assert select(*rows.args, 60, **options).positions.tolist() == expected


def count_passes(monkeypatch):
    """A list that grows by one with each pass over the pool."""
    passes = []
    right = ahead.project
    monkeypatch.setattr(ahead, "project", lambda *args: passes.append(1) or right(*args))
    return passes


def test_a_course_is_shared_by_many_choices(monkeypatch):
    """On well-separated scores most choices take no pass of their own."""
    passes = count_passes(monkeypatch)
    rows = random_rows(seed=3, n_pool=300, n_features=24, n_classes=5, logit_scale=0.3)
    select(*rows.args, 60, variant="binary", form="dense")
    assert len(passes) < 30


def test_equal_rows_are_foreseen_in_pool_order(monkeypatch):
    """So that courses go on where rows are there more than once."""
    passes = count_passes(monkeypatch)
    rows = random_rows(seed=3, n_pool=300, n_features=24, n_classes=5, logit_scale=0.3)
    rows = rows.pool(torch.arange(300).repeat(4))
    select(*rows.args, 60, variant="binary", form="dense")
    assert len(passes) < 30

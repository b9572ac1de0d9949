# SPDX-License-Identifier: BSD-3-Clause
"""The fast selection makes the picks of the slow reference, whatever the options."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import reference
import torch
from fisher_problems import DEVICES, VARIANTS, Rows, random_rows
from fisher_problems import one_thread as one_thread  # autouse

from skbait._backend import for_chunks
from skbait.fisher import select
from skbait.fisher.factors import binary_factor, contrast_basis, exact_factor, exp_factor
from skbait.fisher.forward import Forward

FORMS = ["dense", "factored"]


@cache
def _solved(rows_key, n, oversample, options):
    """Solve a problem with the reference, once for all the tests that look at it."""
    problem = random_rows(**dict(rows_key)).problem(n, **dict(options))
    return reference.select(problem, n, oversample=oversample)


def check(n, rows, *, form="auto", dtype=torch.float64, device="cpu", oversample=2.0, **options):
    """Select, compare with the reference, return the selection."""
    options = {"variant": "exp", "top_c": 2, **options}
    for_select = {k: options.pop(k) for k in ["chunk_size"] if k in options}
    if isinstance(rows, dict) and dtype == torch.float64:
        solved = _solved(
            tuple(sorted(rows.items())), n, oversample, tuple(sorted(options.items()))
        )
        rows = random_rows(**rows)
    else:
        rows = random_rows(**rows) if isinstance(rows, dict) else rows
        rows = rows.map(lambda t: t.to(dtype))
        solved = reference.select(rows.problem(n, **options), n, oversample=oversample)
    selection = select(
        *rows.map(lambda t: t.to(device)).args,
        n,
        form=form,
        oversample=oversample,
        **options,
        **for_select,
    )
    positions, gains = selection.positions.cpu(), selection.gains.cpu()
    assert positions.dtype == torch.int64
    reference.assert_same_picks(
        positions.tolist(), solved.problem, n, oversample=oversample, reference=solved
    )
    assert gains.dtype == torch.float64
    assert gains.shape == (len(rows.h),)
    scale = np.abs(solved.gains).max()
    rtol = 1e-7 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(gains.numpy(), solved.gains, rtol=rtol, atol=rtol * scale)
    return selection


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("regularization", ["auto", 1.0, 1e-3])
@pytest.mark.parametrize("weighting", ["posterior", "original"])
@pytest.mark.parametrize("n_classes", [2, 3, 4, 6])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_picks_of_the_reference(variant, top_c, n_classes, weighting, regularization, form):
    check(
        6,
        {"seed": n_classes, "n_classes": n_classes},
        form=form,
        variant=variant,
        top_c=n_classes if top_c == "K" else top_c,
        weighting=weighting,
        regularization=regularization,
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["clusters", "unit", "cnn"])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_picks_on_other_kinds_of_features(variant, top_c, kind, form, device):
    top_c = 5 if top_c == "K" else top_c
    rows = {"seed": 7, "n_classes": 5, "n_features": 6, "kind": kind}
    check(8, rows, form=form, variant=variant, top_c=top_c, device=device)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
@pytest.mark.parametrize(
    ("n_pool", "n_labeled", "n"),
    [
        pytest.param(30, 0, 5, id="nothing-labelled"),
        pytest.param(30, 1, 5, id="one-labelled"),
        pytest.param(30, 60, 5, id="more-labelled-than-pool"),
        pytest.param(30, 8, 1, id="n=1"),
        pytest.param(12, 3, 12, id="n=N"),
        pytest.param(12, 3, 11, id="n=N-1"),
        pytest.param(12, 3, 8, id="2n>N"),
        pytest.param(12, 3, 6, id="2n=N"),
        pytest.param(1, 4, 1, id="N=1"),
        pytest.param(1, 0, 1, id="N=1-nothing-labelled"),
        pytest.param(2, 1, 1, id="N=2"),
    ],
)
def test_sizes(n_pool, n_labeled, n, variant, form):
    rows = {"seed": 3, "n_pool": n_pool, "n_labeled": n_labeled}
    check(n, rows, form=form, variant=variant)
    check(n, rows, form=form, variant=variant, weighting="original", regularization=1.0)


@pytest.mark.parametrize("form", FORMS)
def test_one_feature(form):
    check(4, {"seed": 5, "n_features": 1}, form=form, variant="binary")
    check(4, {"seed": 5, "n_features": 1}, form=form, variant="exact")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("oversample", [1.0, 1.5, 2.0, 3.5, 100.0])
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_oversample(variant, oversample, form):
    check(6, {"seed": 11}, form=form, variant=variant, oversample=oversample)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", ["posterior", "original"])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_float32_input_gives_the_float64_picks_of_its_values(
    variant, top_c, weighting, form, device
):
    top_c = 4 if top_c == "K" else top_c
    rows = {"seed": 13, "n_classes": 4, "n_features": 5}
    options = {"variant": variant, "top_c": top_c, "weighting": weighting}
    check(8, rows, form=form, dtype=torch.float32, device=device, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_chunk_size_and_threads_change_nothing(variant, form, dtype):
    rows = random_rows(seed=17, n_pool=16, n_classes=4, n_features=5).map(lambda t: t.to(dtype))
    expected = select(*rows.args, 6, variant=variant, form=form)
    threads = torch.get_num_threads()
    try:
        for n_threads in [1, 2]:
            torch.set_num_threads(n_threads)
            for chunk_size in [1, 7, 10_000]:
                got = select(*rows.args, 6, variant=variant, form=form, chunk_size=chunk_size)
                assert got.positions.tolist() == expected.positions.tolist()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_automatic_form_agrees(variant, form):
    rows = random_rows(seed=19)
    auto = select(*rows.args, 7, variant=variant)
    named = select(*rows.args, 7, variant=variant, form=form)
    assert auto.positions.tolist() == named.positions.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
class TestDegenerateRows:
    """Rows without information, or with the same, are no reason to fail or to warn."""

    @pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
    def test_duplicates(self, variant, top_c, form, dtype):
        rows = random_rows(seed=23, n_pool=12)
        rows = rows.pool(torch.arange(12).repeat(3))
        top_c = 3 if top_c == "K" else top_c
        check(7, rows, form=form, dtype=dtype, variant=variant, top_c=top_c)

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_one_row_many_times(self, variant, form, dtype):
        rows = random_rows(seed=23).pool(torch.zeros(15, dtype=torch.int64))
        check(6, rows, form=form, dtype=dtype, variant=variant)

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_some_features_are_zero(self, variant, form, dtype):
        rows = random_rows(seed=29)
        rows.h[::3] = 0.0
        rows.h_labeled[::2] = 0.0
        check(6, rows, form=form, dtype=dtype, variant=variant)

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_a_zero_column(self, variant, form, dtype):
        rows = random_rows(seed=29)
        rows.h[:, 1] = 0.0
        rows.h_labeled[:, 1] = 0.0
        check(6, rows, form=form, dtype=dtype, variant=variant)

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_some_rows_are_certain(self, variant, form, dtype):
        rows = random_rows(seed=31)
        rows.p[::2] = torch.eye(3, dtype=torch.float64)[1]
        rows.p_labeled[:] = torch.eye(3, dtype=torch.float64)[0]
        check(6, rows, form=form, dtype=dtype, variant=variant)

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_nearly_certain_rows(self, variant, form, dtype):
        rows = random_rows(seed=31, logit_scale=30.0)
        check(6, rows, form=form, dtype=dtype, variant=variant)

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_fewer_informative_rows_than_asked_for(self, variant, form, dtype):
        rows = random_rows(seed=37, n_pool=20)
        rows.p[3:] = torch.eye(3, dtype=torch.float64)[2]
        selection = check(8, rows, form=form, dtype=dtype, variant=variant)
        assert set(selection.positions.tolist()) >= {0, 1, 2}

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    @pytest.mark.parametrize("nothing", ["features", "certain", "both"])
    @pytest.mark.parametrize("n", [1, 4, 10])
    def test_no_information_at_all(self, nothing, variant, n, form, dtype):
        rows = random_rows(seed=41, n_pool=10)
        if nothing != "certain":
            rows = rows.features(torch.zeros_like)
        if nothing != "features":
            rows.p[:] = torch.eye(3, dtype=torch.float64)[0]
            rows.p_labeled[:] = torch.eye(3, dtype=torch.float64)[0]
        rows = rows.map(lambda t: t.to(dtype))
        selection = select(*rows.args, n, variant=variant, form=form)
        assert len(set(selection.positions.tolist())) == n
        assert (selection.gains == 0).all()

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    @pytest.mark.parametrize("tiny", [1e-20, 1e-30, 1e-41])
    def test_only_zero_rows_are_uncertain(self, tiny, variant, form, dtype):
        """What is uncertain has no features, what has features is all but certain."""
        h = torch.tensor([[0.0], [1.0], [0.0]], dtype=dtype)
        p = torch.tensor([[0.5, 0.5], [1.0, tiny], [0.6, 0.4]], dtype=torch.float64)
        selection = select(h, p, None, None, 2, variant=variant, form=form)
        assert len(set(selection.positions.tolist())) == 2
        assert (selection.gains >= 0).all()

    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_two_classes_undecided(self, variant, form, dtype):
        """Probabilities of exactly a half: which label is the top one must not matter."""
        rows = random_rows(seed=43, n_classes=2)
        rows.p[::2] = 0.5
        check(6, rows, form=form, dtype=dtype, variant=variant, top_c=2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_far_from_unit_scale(variant, scale, form):
    """The scale of the features against an absolute λ: all prior, or nearly no prior."""
    rows = random_rows(seed=47).features(lambda h: scale * h)
    check(6, rows, form=form, variant=variant, regularization=1.0)


@pytest.mark.parametrize("form", FORMS)
def test_more_labelled_rows_than_parameters(form):
    rows = {"seed": 53, "n_labeled": 100, "n_features": 2, "n_classes": 2}
    check(8, rows, form=form, variant="exact")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_input_is_left_alone(variant, form):
    rows = random_rows(seed=59)
    before = rows.map(torch.clone)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    select(*rows.args, 6, variant=variant, form=form)
    generator = torch.Generator().manual_seed(0)
    select(*rows.args, 6, variant=variant, form=form, fisher_samples=20, generator=generator)
    assert torch.equal(state, torch.get_rng_state())
    for t, t_before in zip(rows.args, before.args, strict=True):
        assert torch.equal(t, t_before)


@pytest.mark.parametrize("form", FORMS)
def test_features_and_probabilities_of_different_dtypes(form):
    rows = random_rows(seed=59).features(lambda h: h.float().double())
    expected = select(*rows.args, 6, form=form).positions.tolist()
    mixed = rows.features(torch.Tensor.float)
    assert select(*mixed.args, 6, form=form).positions.tolist() == expected


def test_chunks_are_halved_where_memory_runs_out():
    done = []

    def work(rows):
        if rows.stop - rows.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(range(rows.start, rows.stop))

    for_chunks(work, 20, 16)
    assert done == list(range(20))

    def never(rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        for_chunks(never, 20, 16)

    def other(rows):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        for_chunks(other, 20, 16)


@pytest.mark.parametrize("form", FORMS)
def test_strided_tensors_and_tensors_with_a_gradient(form):
    rows = random_rows(seed=61)
    expected = select(*rows.args, 6, form=form).positions.tolist()
    strided = rows.map(lambda t: torch.stack([t, -t], dim=2).transpose(0, 1)[..., 0].T)
    assert not strided.h.is_contiguous()
    assert select(*strided.args, 6, form=form).positions.tolist() == expected
    with_gradient = rows.map(lambda t: t.clone().requires_grad_())
    selection = select(*with_gradient.args, 6, form=form)
    assert selection.positions.tolist() == expected
    assert not selection.gains.requires_grad


@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
@pytest.mark.parametrize("logit", [700.0, 715.0, 740.0, 760.0])
def test_information_that_is_hardly_a_number_is_none(logit, variant):
    h = torch.ones(3, 1, dtype=torch.float64)
    p = torch.softmax(torch.tensor([[0.0, logit, -500.0]], dtype=torch.float64), 1).expand(3, -1)
    found = select(h[:2], p[:2], h[2:], p[2:], 2, variant=variant)
    assert found.positions.tolist() == [0, 1]


class TestFisherSamples:
    """F averaged over a seeded random subset of the rows."""

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_as_many_as_there_are_is_the_mean_over_all(self, variant, form):
        rows = random_rows(seed=67)
        everything = select(*rows.args, 6, variant=variant, form=form)
        sampled = select(*rows.args, 6, variant=variant, form=form, fisher_samples=48)
        assert sampled.positions.tolist() == everything.positions.tolist()

    @pytest.mark.parametrize("form", FORMS)
    def test_seeded(self, form):
        rows = random_rows(seed=67, n_pool=100)

        def run(seed):
            generator = torch.Generator().manual_seed(seed)
            return select(*rows.args, 6, form=form, fisher_samples=20, generator=generator)

        assert torch.equal(run(0).positions, run(0).positions)
        assert torch.equal(run(0).gains, run(0).gains)
        assert not torch.equal(run(0).gains, run(1).gains)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
    def test_rows_without_information_may_be_drawn(self, variant, form):
        """λ is that of all rows: with one of the drawn row M would be singular."""
        for seed in range(20):
            rng = np.random.default_rng(seed)
            h = torch.from_numpy(rng.normal(size=(29, 6)))
            p = torch.softmax(30 * h @ torch.from_numpy(rng.normal(size=(6, 4))), 1)
            rows = h[1:], p[1:], h[:1], p[:1]
            found = select(*rows, 11, variant=variant, form=form, fisher_samples=1)
            assert len(set(found.positions.tolist())) == 11

    def test_both_forms_draw_the_same_rows(self):
        rows = random_rows(seed=67, n_pool=100)
        dense, factored = (
            select(
                *rows.args,
                6,
                form=form,
                fisher_samples=20,
                generator=torch.Generator().manual_seed(3),
            )
            for form in FORMS
        )
        torch.testing.assert_close(dense.gains, factored.gains)
        assert dense.positions.tolist() == factored.positions.tolist()


def information(A):
    """A_xᵀA_x (N, K, K) of a factor in the contrast basis, in terms of the classes again."""
    basis = contrast_basis(A.shape[2] + 1, A.device)  # (K, K-1)
    return basis @ A.mT @ A @ basis.T


class TestFactors:
    """A_x against the table of the design.

    A factor may have its rows in another order, or fewer of them: A_xᵀA_x is what counts.
    """

    @pytest.mark.parametrize("logit_scale", [1.0, 10.0, 100.0])
    @pytest.mark.parametrize("n_classes", [2, 3, 5, 17])
    def test_against_the_reference(self, n_classes, logit_scale):
        p = random_rows(seed=71, n_classes=n_classes, logit_scale=logit_scale).p
        for got, variant, top_c in [
            (exact_factor(p), "exact", 2),
            (exp_factor(p, 1), "exp", 1),
            (exp_factor(p, 2), "exp", 2),
            (exp_factor(p, n_classes), "exp", n_classes),
        ]:
            expected = torch.from_numpy(reference.factor(p.numpy(), variant, top_c))
            assert got.dtype == torch.float64
            torch.testing.assert_close(
                information(got), expected.mT @ expected, rtol=1e-9, atol=1e-15
            )

    def test_exact_is_the_covariance_of_the_label(self):
        p = random_rows(seed=71, n_classes=5).p
        covariance = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        torch.testing.assert_close(information(exact_factor(p)), covariance)
        torch.testing.assert_close(information(exp_factor(p, 5)), covariance)

    def test_basis_is_orthonormal_and_its_columns_sum_to_zero(self):
        for n_classes in [2, 3, 10]:
            basis = contrast_basis(n_classes, torch.device("cpu"))
            identity = torch.eye(n_classes - 1, dtype=torch.float64)
            torch.testing.assert_close(basis.T @ basis, identity)
            torch.testing.assert_close(basis.sum(dim=0), torch.zeros_like(basis[0]))

    def test_binary_has_the_information_of_the_two_published_rows(self):
        p = random_rows(seed=71).p
        p_hat = p.amax(dim=1)
        first, second = (1 - p_hat) * p_hat.sqrt(), -p_hat * (1 - p_hat).sqrt()
        A = binary_factor(p)
        assert A.shape == (len(p), 1, 1)
        torch.testing.assert_close(A[:, 0, 0] ** 2, first**2 + second**2)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_certain_rows_have_none(self, dtype):
        p = torch.eye(4, dtype=dtype)
        for A in [exact_factor(p), exp_factor(p, 1), exp_factor(p, 3), binary_factor(p)]:
            torch.testing.assert_close(A, torch.zeros_like(A), rtol=0.0, atol=1e-15)


@pytest.mark.parametrize("form", ["dense", "factored"])
@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
def test_the_order_of_memory_does_not_matter(variant, form):
    """Tables often come column by column."""
    rows = random_rows(seed=73)
    by_column = rows.map(lambda tensor: tensor.T.contiguous().T)
    assert not by_column.h.is_contiguous()
    one, other = (
        select(*each.args, 4, variant=variant, form=form).positions for each in (rows, by_column)
    )
    assert torch.equal(one, other)


def test_kappa_is_relative_to_the_information_of_a_row():
    rows = random_rows(seed=72)
    tenth, one = (select(*rows.args, 3, kappa=kappa) for kappa in (0.1, 1.0))
    assert one.regularization == pytest.approx(10 * tenth.regularization)
    assert select(*rows.args, 3, kappa=7.0, regularization=0.5).regularization == 0.5
    absolute = select(*rows.args, 3, regularization=one.regularization)
    assert torch.equal(absolute.positions, one.positions)


class TestBadArguments:
    """The value that is wrong is named."""

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"variant": "fancy"}, "variant.*fancy"),
            ({"weighting": "heavy"}, "weighting.*heavy"),
            ({"form": "loose"}, "form.*loose"),
            ({"variant": "exp", "top_c": 4}, "top_c"),
            ({"variant": "exp", "top_c": 0}, "top_c"),
            ({"regularization": -1.0}, "regularization"),
            ({"regularization": 0.0}, "regularization"),
            ({"kappa": 0.0}, "kappa"),
            ({"kappa": float("inf")}, "kappa"),
            ({"kappa": "small"}, "kappa='small' must be a number"),
            ({"kappa": "0.1"}, "kappa='0.1' must be a number"),
            ({"kappa": 10**400}, "kappa=1000.* must be a positive finite number"),
            ({"regularization": "0.5"}, "regularization='0.5' must be 'auto' or a positive"),
            ({"regularization": True}, "regularization=True must be 'auto' or a positive"),
            ({"kappa": b"0.1"}, "kappa=b'0.1' must be a number"),
            ({"kappa": torch.tensor(True)}, "must be a number"),
            ({"regularization": None}, "regularization=None"),
            ({"oversample": 0.5}, "oversample"),
            ({"oversample": "twice"}, "oversample='twice' must be a number"),
            ({"top_c": 1.5}, "top_c=1.5 must be an integer"),
            ({"fisher_samples": 3.5}, "fisher_samples=3.5 must be an integer or None"),
            ({"chunk_size": 0}, "chunk_size=0 must be at least 1, or None"),
        ],
    )
    def test_options(self, options, match):
        with pytest.raises(ValueError, match=match):
            select(*random_rows().args, 3, **options)

    @pytest.mark.parametrize("n", [0, -1, 41, 2.5, True])
    def test_n(self, n):
        with pytest.raises(ValueError, match=str(n)):
            select(*random_rows().args, n)

    def test_shapes(self):
        rows = random_rows()
        with pytest.raises(ValueError, match=r"40.*39|39.*40"):
            select(rows.h, rows.p[:39], rows.h_labeled, rows.p_labeled, 3)
        with pytest.raises(ValueError, match="feature"):
            select(rows.h, rows.p, rows.h_labeled[:, :2], rows.p_labeled, 3)
        with pytest.raises(ValueError, match="features has no columns"):
            select(rows.h[:, :0], rows.p, None, None, 3)
        with pytest.raises(ValueError, match="features holds complex"):
            select(rows.h.to(torch.complex64), rows.p, None, None, 3)
        for labeled in ((rows.h_labeled, None), (None, rows.p_labeled)):
            with pytest.raises(ValueError, match="labeled_features and labeled_probabilities"):
                select(rows.h, rows.p, *labeled, 3)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_not_finite(self, bad):
        rows = random_rows().map(torch.clone)
        rows.h[3, 1] = bad
        with pytest.raises(ValueError, match=r"(?i)nan|inf|finite"):
            select(*rows.args, 3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_features_that_are_no_floats(dtype, seed):
    rows = random_rows(seed=seed)
    whole = [(10 * h.abs()).to(dtype) for h in (rows.h, rows.h_labeled)]
    got = select(whole[0], rows.p, whole[1], rows.p_labeled, 5)
    expected = select(whole[0].double(), rows.p, whole[1].double(), rows.p_labeled, 5)
    assert torch.equal(got.positions, expected.positions)
    got = select(rows.h, rows.p, whole[1], rows.p_labeled, 5)
    assert torch.equal(
        got.positions, select(rows.h, rows.p, whole[1].double(), rows.p_labeled, 5).positions
    )
    select(rows.h.float(), rows.p, whole[1], rows.p_labeled, 5)
    with pytest.raises(TypeError, match=r"^labeled_features must be a torch\.Tensor, got ndarray"):
        select(rows.h, rows.p, rows.h_labeled.numpy(), rows.p_labeled, 5)


def test_as_many_steps_as_oversample_says(monkeypatch):
    """1.16 times 25 is 28.999... in floats."""
    steps = []
    right = Forward.run
    monkeypatch.setattr(Forward, "run", lambda self, n: steps.append(n) or right(self, n))
    for n, oversample in ((25, 1.16), (10, 1.0), (10, 1e308), (7, 1.5)):
        select(*random_rows().args, n, oversample=oversample)
    assert steps == [29, 10, 40, 10]


def test_rows_helper_is_what_the_reference_sees():
    """The tests' own seam: a float32 problem is that of its values, not of the unrounded ones."""
    rows = random_rows(seed=73).map(lambda t: t.float())
    assert isinstance(rows, Rows)
    V = rows.problem(2).V
    h, p = rows.h[0].double().numpy(), rows.p[0].double().numpy()
    top = p.argmax()
    p /= p.sum()
    expected = np.sqrt(p[top] / np.sort(p)[-2:].sum()) * np.kron(np.eye(3)[top] - p, h)
    np.testing.assert_allclose(V[0, 0], expected)


def test_too_large_a_problem_is_refused_before_it_is_begun(seed, monkeypatch):
    """Of exact with very many classes the factors alone may be more than there is memory."""
    rows = random_rows(seed=seed, n_pool=50, n_classes=8)
    monkeypatch.setattr("skbait.fisher.checks.memory_bytes", lambda device: 8.0 * 50 * 7 * 6)
    with pytest.raises(MemoryError, match=r"variant='exact' takes .* GB for the factors of 50 "):
        select(*rows.args, 3, variant="exact")
    assert len(select(*rows.args, 3).positions) == 3


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("integer", [torch.int64, torch.uint8, torch.bool])
def test_integers_beside_floats(half, integer):
    """Half precision holds few integers; single precision is what the other rows have."""
    features, p, labeled, labeled_p = random_rows(seed=5, n_pool=12).args
    whole = (features * 9).abs().round()
    if integer == torch.bool:
        whole = (whole > 3).double()
    options = {"regularization": 0.1}
    expected = select(whole, p, labeled.to(half).double(), labeled_p, 3, **options)
    chosen = select(whole.to(integer), p, labeled.to(half), labeled_p, 3, **options)
    assert chosen.positions.tolist() == expected.positions.tolist()
    torch.testing.assert_close(chosen.gains, expected.gains)
    expected = select(labeled.to(half).double(), labeled_p, whole, p, 3, **options)
    chosen = select(labeled.to(half), labeled_p, whole.to(integer), p, 3, **options)
    torch.testing.assert_close(chosen.gains, expected.gains)
    expected = select(whole.float(), p, labeled.float(), labeled_p, 3, **options)
    chosen = select(whole.to(integer), p, labeled.float(), labeled_p, 3, **options)
    torch.testing.assert_close(chosen.gains, expected.gains)


def test_what_is_no_tensor_is_named():
    features, p, labeled, labeled_p = random_rows(seed=5, n_pool=12).args
    with pytest.raises(TypeError, match=r"features must be a torch.Tensor, got NoneType"):
        select(None, p, labeled, labeled_p, 3)
    with pytest.raises(TypeError, match=r"labeled_features must be a torch.Tensor, got ndarray"):
        select(features, p, labeled.numpy(), labeled_p, 3)

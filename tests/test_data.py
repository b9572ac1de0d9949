# SPDX-License-Identifier: BSD-3-Clause
"""Rows of every kind of container: counted, taken, joined, checked; labels and their marks."""

from __future__ import annotations

import tracemalloc
from collections import UserDict

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from skorch.helper import SliceDict
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from skbait import _backend
from skbait.utils.data import kind_of, num_rows, row_shape, take_rows
from skbait.utils.finite import check_finite
from skbait.utils.joining import concatenate_rows
from skbait.utils.targets import as_vector, has_label, tidy
from skbait.utils.validation import (
    check_number_of_rows,
    check_rows,
    same_on_failure,
    seed_from,
)

ARRAY = np.arange(30.0).reshape(6, 5)


def values_of(X):
    """Return what a container holds, as an array or a dict of arrays."""
    if isinstance(X, (dict, UserDict)):
        return {key: values_of(value) for key, value in X.items()}
    if sparse.issparse(X):
        return X.toarray()
    if isinstance(X, torch.utils.data.Dataset):
        return np.stack([np.asarray(row[0]) for row in X])
    return np.asarray(X)


CONTAINERS = {
    "array": lambda X: X,
    "images": lambda X: np.repeat(X, 12, axis=1).reshape(len(X), 5, 3, 4),
    "tensor": torch.from_numpy,
    "frame": lambda X: pd.DataFrame(X, columns=list("abcde"), index=np.arange(len(X)) + 100),
    "series": lambda X: pd.Series([f"row {row[0]}" for row in X]),
    "csr": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "dict": lambda X: {"a": X, "b": torch.from_numpy(X[:, 0])},
    "slice_dict": lambda X: SliceDict(a=X, b=X[:, :2]),
    "user_dict": lambda X: UserDict(a=X),
    "dataset": lambda X: TensorDataset(torch.from_numpy(X), torch.arange(len(X))),
    "list": lambda X: X.tolist(),
    "strings": lambda X: [f"row {row[0]}" for row in X],
}


@pytest.fixture(params=CONTAINERS)
def make(request):
    return CONTAINERS[request.param]


def assert_equal(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)


def test_take(make):
    X = make(ARRAY)
    assert num_rows(X) == 6
    positions = np.array([4, 0, 2])
    mask = np.array([True, False, True, False, False, True])
    for wanted, chosen in [
        (ARRAY[positions], positions),
        (ARRAY[positions], positions.tolist()),
        (ARRAY[positions], torch.from_numpy(positions)),
        (ARRAY[positions], positions.astype(np.uint8)),
        (ARRAY[mask], mask),
        (ARRAY[1:4], slice(1, 4)),
        (ARRAY[4:], slice(4, 99)),
    ]:
        taken = take_rows(X, chosen)
        assert kind_of(taken) == kind_of(X)
        assert num_rows(taken) == len(wanted)
        assert_equal(values_of(taken), values_of(make(wanted)))


def test_take_nothing(make):
    assert num_rows(take_rows(make(ARRAY), [])) == 0


def test_concatenate(make):
    parts = [make(ARRAY[:2]), make(ARRAY[2:3]), make(ARRAY[3:])]
    joined = concatenate_rows(parts)
    assert kind_of(joined) == kind_of(parts[0])
    assert_equal(values_of(joined), values_of(make(ARRAY)))
    assert concatenate_rows(parts[:1]) is parts[0]


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_join_of_takes_is_take_of_join(one, other):
    for make in CONTAINERS.values():
        X = make(ARRAY)
        joined = concatenate_rows([take_rows(X, one), take_rows(X, other)])
        if one + other and not isinstance(X, pd.DataFrame):
            assert_equal(values_of(joined), values_of(take_rows(X, one + other)))


def test_types_are_kept():
    assert isinstance(take_rows(SliceDict(a=ARRAY), [1]), SliceDict)
    assert isinstance(concatenate_rows([SliceDict(a=ARRAY)] * 2), SliceDict)
    assert isinstance(take_rows(sparse.csr_matrix(ARRAY), [1]), sparse.csr_matrix)
    assert take_rows(ARRAY.astype(np.float32), [1]).dtype == np.float32
    frame = CONTAINERS["frame"](ARRAY)
    assert take_rows(frame, [3, 1]).index.tolist() == [103, 101]


def test_datasets_stay_flat():
    data = CONTAINERS["dataset"](ARRAY)
    taken = take_rows(take_rows(data, [5, 3, 1]), [2, 0])
    assert isinstance(taken, Subset)
    assert taken.dataset is data
    assert taken.indices == [1, 5]
    joined = concatenate_rows([concatenate_rows([data, taken]), data])
    assert isinstance(joined, ConcatDataset)
    assert len(joined.datasets) == 3


def test_datasets_stay_flat_in_cycles(rng):
    """Corrections take rows of what was joined of rows that were taken, and so on."""
    pool, other = CONTAINERS["dataset"](ARRAY), CONTAINERS["dataset"](10 + ARRAY)
    rows, expected = take_rows(pool, [4, 1]), ARRAY[[4, 1]]
    for step in range(40):
        new = take_rows(other if step % 3 else pool, [step % 5])
        rows = concatenate_rows([rows, new])
        expected = np.concatenate([expected, (10 * (step % 3 > 0) + ARRAY)[[step % 5]]])
        order = rng.permutation(len(expected))
        rows, expected = take_rows(rows, order), expected[order]
    np.testing.assert_array_equal(np.stack([np.asarray(x) for x, _ in rows]), expected)
    assert isinstance(rows, Subset)
    assert {id(each) for each in rows.dataset.datasets} == {id(pool), id(other)}


def test_rows_of_datasets_by_their_place_from_the_end():
    first, second = CONTAINERS["dataset"](ARRAY), CONTAINERS["dataset"](10 + ARRAY)
    both, everything = ConcatDataset([first, second]), np.concatenate([ARRAY, 10 + ARRAY])
    cases = (
        (Subset(both, [-1, -8, 2]), everything[[-1, -8, 2]]),
        (ConcatDataset([first, Subset(second, [-1])]), everything[[*range(6), -1]]),
        (Subset(Subset(first, [-2, -1]), [-1]), ARRAY[[-1]]),
    )
    for dataset, expected in cases:
        order = np.arange(len(expected))[::-1]
        taken = take_rows(dataset, order)
        np.testing.assert_array_equal([np.asarray(x) for x, _ in taken], expected[order])


class Named(Dataset):
    """Rows that go by names, and have no number."""

    def __getitem__(self, name):
        return torch.tensor([float(ord(name))]), 0


def test_rows_of_datasets_that_go_by_names():
    taken = take_rows(take_rows(Subset(Named(), ["a", "b", "c"]), [2, 0]), [1])
    assert taken[0][0].item() == ord("a")


def test_memory_map_is_read_by_row(tmp_path):
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (40_000, 250))
    big[:] = 1
    big.flush()
    del big
    X = np.load(tmp_path / "big.npy", mmap_mode="r")
    tracemalloc.start()
    assert num_rows(X) == 40_000
    assert check_rows(X) is X
    check_finite(X)
    rows = take_rows(X, [3, 39_999])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (2, 250)
    assert type(rows) is np.ndarray
    assert isinstance(take_rows(X, slice(0, 5)), np.memmap)
    assert peak < X.nbytes / 4


def test_row_shapes():
    assert row_shape(ARRAY) == (5,)
    assert row_shape(CONTAINERS["images"](ARRAY)) == (5, 3, 4)
    assert row_shape(CONTAINERS["frame"](ARRAY)) == (5,)
    assert row_shape(CONTAINERS["dict"](ARRAY)) is None


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(3))


@pytest.mark.parametrize("X", [None, "text", 3, np.array(3.0), Endless(), iter([1]), object()])
def test_what_holds_no_rows(X):
    with pytest.raises(TypeError, match=r"row|IterableDataset"):
        num_rows(X)
    with pytest.raises(TypeError, match=r"X_pool.*(row|IterableDataset)"):
        check_rows(X, name="X_pool")


def test_bad_positions():
    with pytest.raises(TypeError, match="integers"):
        take_rows(ARRAY, [0.5])
    with pytest.raises(ValueError, match="mask has 2"):
        take_rows(ARRAY, [True, False])
    with pytest.raises(ValueError, match="one dimension"):
        take_rows(ARRAY, [[1]])
    with pytest.raises(ValueError, match="differ in their number"):
        num_rows({"a": ARRAY, "b": ARRAY[:2]})


def test_what_cannot_be_joined():
    frame = CONTAINERS["frame"](ARRAY)
    with pytest.raises(TypeError, match=r"DataFrame and ndarray"):
        concatenate_rows([frame, ARRAY])
    with pytest.raises(ValueError, match=r"\(4,\).*\(5,\)"):
        concatenate_rows([ARRAY, ARRAY[:, :4]])
    with pytest.raises(ValueError, match="columns"):
        concatenate_rows([frame, frame.rename(columns={"a": "z"})])
    with pytest.raises(ValueError, match="keys"):
        concatenate_rows([{"a": ARRAY}, {"b": ARRAY}])
    with pytest.raises(ValueError, match="empty"):
        concatenate_rows([])


def test_numbers_beside_strings_stay_numbers_where_lists_are_joined():
    joined = concatenate_rows([np.array([["a", 1]], dtype=object), [["b", 2]]])
    assert joined.tolist() == [["a", 1], ["b", 2]]


def test_categories_of_frames_are_joined():
    one = pd.DataFrame({"a": pd.Categorical(["p", "q"]), "b": [1, 2]})
    other = pd.DataFrame({"a": pd.Categorical(["r", "p"]), "b": [3, 4]})
    joined = concatenate_rows([one, other])
    assert joined["a"].dtype == pd.CategoricalDtype(["p", "q", "r"])
    assert joined["a"].tolist() == ["p", "q", "r", "p"]
    assert one["a"].dtype == pd.CategoricalDtype(["p", "q"])
    assert concatenate_rows([one, one])["a"].dtype == one["a"].dtype
    flags = [pd.DataFrame({"a": pd.Categorical(values)}) for values in ([0, 1], [True])]
    assert concatenate_rows(flags)["a"].tolist() == [0, 1, True]


def test_frames_and_columns_of_polars():
    polars = pytest.importorskip("polars")
    joined = concatenate_rows([polars.DataFrame({"a": [1, 2]}), polars.DataFrame({"a": [0.5]})])
    assert joined["a"].to_list() == [1.0, 2.0, 0.5]
    assert concatenate_rows([polars.Series([1]), polars.Series([0.5])]).to_list() == [1.0, 0.5]
    flags = [polars.DataFrame({"a": [True]}), polars.DataFrame({"a": [2]})]
    assert concatenate_rows(flags)["a"].to_list() == [1, 2]
    assert concatenate_rows([polars.Series("a", [1]), polars.Series("b", [2])]).name == "a"
    with pytest.raises(polars.exceptions.SchemaError):
        concatenate_rows([polars.DataFrame({"a": [1]}), polars.DataFrame({"a": ["b"]})])
    column = polars.Series(["a", "b", "c"])
    assert kind_of(column) == "frame"
    assert check_rows(column) is column
    taken = concatenate_rows([take_rows(column, [2, 0]), column[:1]])
    assert taken.to_list() == ["c", "a", "a"]


def test_lists_join_arrays_and_tensors():
    assert concatenate_rows([ARRAY, ARRAY[:1].tolist()]).shape == (7, 5)
    joined = concatenate_rows([torch.from_numpy(ARRAY), ARRAY[:1].tolist()])
    assert joined.dtype == torch.float64
    assert joined.shape == (7, 5)


# ------------------------------------------------------------------------- checks of X


def test_good_rows_are_returned_as_they_are(make):
    X = make(ARRAY)
    checked = check_rows(X)
    if kind_of(X) != "list":
        assert checked is X
    check_finite(checked)


def test_lists_and_objects_become_numbers():
    assert check_rows(ARRAY.tolist()).dtype == np.float64
    assert check_rows([[1, 2], [3, 4]]).dtype == np.int64
    assert check_rows([ARRAY[0], ARRAY[1]]).shape == (2, 5)
    assert check_rows(ARRAY.astype(object)).dtype == np.float64
    words, none = np.array([["a", 1.0]], dtype=object), np.array([[None, 1.0]], dtype=object)
    tokens = np.array([["a"], ["b", "c"]], dtype=object)
    lists = (["a", "b"], [{"a": 1}], [["a", 1]], [["a"], ["b", "c"]], [[None, 1.0]])
    for kept in (*lists, words, none, tokens):
        assert check_rows(kept) is kept
    with pytest.raises(TypeError, match="argument must be"):
        check_rows(np.array([[{"a": 1}, 2.0]], dtype=object))
    for ragged in ([[1.0], [1.0, 2.0]], [np.ones(2), np.ones(3)], [torch.ones(2), torch.ones(1)]):
        assert check_rows(ragged) is ragged  # for an estimator that pads them
    tokens = check_rows(np.array([[3, 1], [2, 0]], dtype=object))
    assert tokens.dtype == np.int64
    assert check_rows(np.array([[2**70, 1]], dtype=object)).dtype == np.float64


def test_gradients_are_left_out():
    tensor = torch.zeros(4, 2, requires_grad=True)
    checked = check_rows(tensor)
    assert not checked.requires_grad
    assert checked.data_ptr() == tensor.data_ptr()
    for kind in (dict, SliceDict):
        checked = check_rows(kind(a=tensor, b=ARRAY[:4]))
        assert type(checked) is kind
        assert not checked["a"].requires_grad
        assert checked["b"] is not None
    assert tensor.requires_grad


BAD_PLACES = {
    "array": (CONTAINERS["array"], "X_pool"),
    "images": (CONTAINERS["images"], "X_pool"),
    "tensor": (CONTAINERS["tensor"], "X_pool"),
    "frame": (CONTAINERS["frame"], "X_pool"),
    "csr": (CONTAINERS["csr"], "X_pool"),
    "csc": (CONTAINERS["csc_matrix"], "X_pool"),
    "coo": (CONTAINERS["coo"], "X_pool"),
    "dict": (CONTAINERS["dict"], r"X_pool\['a'\]"),
    "bfloat16": (lambda X: torch.as_tensor(X).bfloat16(), "X_pool"),
    "float16": (lambda X: X.astype(np.float16), "X_pool"),
    "nullable": (lambda X: pd.DataFrame(X).astype("Float64"), "X_pool"),
    "mixed": (lambda X: pd.DataFrame({"text": ["x"] * 6, "x": X[:, 4]}), "X_pool"),
}


@pytest.mark.parametrize("value, word", [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("place", BAD_PLACES)
def test_not_finite(place, value, word, monkeypatch):
    make, name = BAD_PLACES[place]
    bad = ARRAY.copy()
    bad[4, 4] = value
    X = make(bad)
    for chunk_bytes in (2**26, 1):  # the second one has several chunks where there are many rows
        monkeypatch.setattr("skbait._backend.CHUNK_BYTES", chunk_bytes)
        with pytest.raises(ValueError, match=rf"{name} contains {word}, first in row 4\."):
            check_finite(X, name="X_pool")
        with pytest.raises(ValueError, match=rf"{name} contains {word}, first in row 14\."):
            check_finite(X, name="X_pool", positions=np.arange(10, 16))
    with config_context(assume_finite=True):
        check_finite(X)


def test_not_finite_far_down(monkeypatch):
    monkeypatch.setattr("skbait._backend.CHUNK_BYTES", 1)
    X = np.ones((1000, 3), dtype=np.float32)
    X[777, 1] = np.nan
    for container in (X, torch.from_numpy(X), sparse.csr_array(X), pd.DataFrame(X)):
        with pytest.raises(ValueError, match="first in row 777"):
            check_finite(container)


def test_large_finite_numbers_are_finite():
    check_finite(np.full((4, 4), np.finfo(np.float32).max, dtype=np.float32))
    check_finite(torch.full((4, 4), torch.finfo(torch.float32).max))


@pytest.mark.parametrize("X, words", [
    (np.empty((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\).*X is empty"),
    (np.empty((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
    (np.empty((3, 2, 0)), r"0 feature\(s\)"),
    ([], r"0 sample\(s\)"),
    ({"a": np.empty((0, 3))}, r"0 sample\(s\)"),
    (np.arange(3.0), "Reshape your data"),
    (torch.arange(3), "Reshape your data"),
    (np.ones((2, 2)) * 1j, "Complex data not supported"),
    (torch.ones((2, 2), dtype=torch.complex64), "Complex data not supported"),
])  # fmt: skip
def test_bad_rows(X, words):
    with pytest.raises(ValueError, match=words):
        check_rows(X)


def test_number_of_rows():
    for n in (1, np.int8(3), np.uint64(5)):
        assert type(check_number_of_rows(n, 5)) is int
    for n in (True, np.False_, 1.0, "1", None, [1], np.array([1, 2])):
        with pytest.raises((TypeError, ValueError), match=r"n=.* must be an integer"):
            check_number_of_rows(n, 5)
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        check_number_of_rows(0, 5)
    with pytest.raises(ValueError, match="n=6 is more than the 5 rows of X_pool"):
        check_number_of_rows(6, 5)


def test_seeds():
    state = np.random.get_state()[1].copy()
    assert seed_from(3) == seed_from(3) != seed_from(4)
    assert len({seed_from(None) for _ in range(5)}) > 1
    rng = np.random.RandomState(0)
    assert seed_from(rng) != seed_from(rng)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_same_on_failure():
    class Thing:
        pass

    thing = Thing()
    thing.random_state, thing.a_ = np.random.RandomState(0), 1
    before = thing.random_state.get_state()[1].copy()

    @same_on_failure(thing)
    def fail():
        thing.random_state.normal(size=1000)
        del thing.a_
        thing.b_ = 2
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert set(vars(thing)) == {"random_state", "a_"}
    np.testing.assert_array_equal(thing.random_state.get_state()[1], before)


# ---------------------------------------------------------------------------- labels


@pytest.mark.parametrize("y, mask, kind", [
    ([0, -1, 2], [1, 0, 1], "i"),
    ([0.0, -1.0, np.nan, 2.0], [1, 0, 0, 1], "f"),
    (["a", None, "b", np.nan], [1, 0, 1, 0], "O"),
    ([True, False], [1, 1], "b"),
    ([True, None], [1, 0], "b"),
    ([3, None], [1, 0], "i"),
    (np.array(["a", "b"]), [1, 1], "U"),
    (np.array([0, 255], dtype=np.uint8), [1, 1], "u"),
    (pd.Series(["a", pd.NA, "b"], dtype="string"), [1, 0, 1], "O"),
    (pd.Series([1, pd.NA, 0], dtype="Int64"), [1, 0, 1], "i"),
    (pd.Series(["a", "b"], dtype="category"), [1, 1], "O"),
    (torch.tensor([0, -1]), [1, 0], "i"),
])  # fmt: skip
def test_labels(y, mask, kind):
    vector = as_vector(y, len(mask))
    np.testing.assert_array_equal(has_label(vector), np.array(mask, dtype=bool))
    assert tidy(vector[has_label(vector)]).dtype.kind == kind


def test_bad_labels():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        as_vector(None, 3)
    with pytest.raises(ValueError, match="X has 3 rows and y has 2"):
        as_vector([0, 1], 3)
    with pytest.raises(ValueError, match="Complex data"):
        as_vector(np.array([1j]), 1)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        tidy(np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="infinity"):
        tidy(np.array([np.inf, 1.0]))
    with pytest.raises(ValueError, match=r"Unknown label type.*int, str"):
        tidy(np.array([1, "a"], dtype=object))


def test_the_memory_limit_of_a_container_counts(tmp_path, monkeypatch):
    for name, text in (("none", "max\n"), ("low", "1048576\n"), ("high", f"{2**62}\n")):
        (tmp_path / name).write_text(text, encoding="ascii")

    def found(*names):
        monkeypatch.setattr(_backend, "MEMORY_LIMITS", [tmp_path / name for name in names])
        return _backend.memory_bytes(torch.device("cpu"))

    physical = found()
    assert 2**26 < physical < 2**62
    assert found("missing", "none", "high") == physical
    assert found("none", "low") == 2**20

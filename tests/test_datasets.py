# SPDX-License-Identifier: BSD-3-Clause
"""CIFAR-10 from arrays, from a small archive of the real one's form, and from nowhere.

Its features come from arrays or from nowhere.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import pickle
import struct
import tarfile
import textwrap
import zipfile
import zlib
from urllib.error import URLError

import numpy as np
import pytest

from skbait.datasets import _cifar10, _cifar10_features, fetch_cifar10, fetch_cifar10_features

CLASSES = ["airplane", "automobile", "bird", "cat", "deer"]
CLASSES += ["dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def images(rng):
    """Twelve images and labels: two rows for each of the five training batches and the test."""
    return rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 12)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No test here may reach the network or the user's own data home."""

    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", unreachable)
    monkeypatch.setattr("sklearn.datasets._base.time.sleep", lambda seconds: None)
    monkeypatch.delenv("SKBAIT_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "scikit_learn_data"))


def save_arrays(folder, images, labels, **changes):
    arrays = {
        "X_train": images[:10],
        "y_train": labels[:10],
        "X_test": images[10:],
        "y_test": labels[10:],
        "target_names": np.array(CLASSES),
    }
    arrays |= changes
    folder.mkdir(exist_ok=True)
    np.savez(folder / "cifar10.npz", **{k: v for k, v in arrays.items() if v is not None})


def save_archive(folder, images, labels, extra=None):
    """Write a small archive with the members, keys and memory layout of the real one."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    batches = {f"data_batch_{i + 1}": slice(2 * i, 2 * i + 2) for i in range(5)}
    batches["test_batch"] = slice(10, 12)
    members = {
        name: {b"data": rows[part], b"labels": labels[part].tolist(), b"extra": extra}
        for name, part in batches.items()
    }
    members["batches.meta"] = {b"label_names": [name.encode() for name in CLASSES]}
    folder.mkdir(exist_ok=True)
    path = folder / _cifar10.ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            data = pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def trust(monkeypatch, path):
    """Let the small archive at `path` count as the published one."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(_cifar10, "ARCHIVE_SHA256", digest)


@pytest.fixture(params=["arrays", "archive"])
def home(request, images, tmp_path, monkeypatch):
    """Return a data home that holds the twelve images in one form or the other."""
    folder = tmp_path / "home"
    if request.param == "arrays":
        save_arrays(folder, *images)
    else:
        trust(monkeypatch, save_archive(folder, *images))
    return folder


@pytest.mark.parametrize(
    "subset, part", [("train", slice(0, 10)), ("test", slice(10, 12)), ("all", slice(0, 12))]
)
def test_both_forms_give_the_same(home, images, subset, part):
    bunch = fetch_cifar10(home, subset=subset)
    np.testing.assert_array_equal(bunch.data, images[0][part])
    np.testing.assert_array_equal(bunch.target, images[1][part])
    assert bunch.data.dtype == np.uint8
    assert bunch.data.flags.c_contiguous
    assert bunch.target.dtype == np.int64
    assert bunch.target_names == CLASSES
    assert "Krizhevsky" in bunch.DESCR
    X, y = fetch_cifar10(home, subset=subset, return_X_y=True, download_if_missing=False)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_the_data_home_comes_from_the_environment(home, images, monkeypatch):
    monkeypatch.setenv("SKBAIT_DATA", str(home))
    X, _ = fetch_cifar10(subset="test", return_X_y=True)
    np.testing.assert_array_equal(X, images[0][10:])


def test_the_data_home_is_scikit_learns_otherwise(images, tmp_path):
    save_arrays(tmp_path / "scikit_learn_data", *images)
    X, _ = fetch_cifar10(subset="test", return_X_y=True)
    np.testing.assert_array_equal(X, images[0][10:])


def test_an_archive_with_another_checksum_is_never_unpickled(images, tmp_path, monkeypatch):
    path = save_archive(tmp_path, *images)

    def opened(*args):
        raise AssertionError("the archive was read")

    monkeypatch.setattr(_cifar10._ArrayUnpickler, "read", opened)
    before = path.read_bytes()
    with pytest.raises(OSError, match="SHA-256"):
        fetch_cifar10(tmp_path)
    assert path.read_bytes() == before  # nor deleted nor replaced


class Evil:
    ran = False

    def __reduce__(self):
        return _run, ()


def _run():
    Evil.ran = True


def test_only_arrays_are_unpickled(images, tmp_path, monkeypatch):
    trust(monkeypatch, save_archive(tmp_path, *images, extra=Evil()))
    with pytest.raises(pickle.UnpicklingError, match="_run does not belong"):
        fetch_cifar10(tmp_path)
    assert not Evil.ran


def test_a_download_that_fails_says_what_to_do(tmp_path):
    home = tmp_path / "new" / "home"
    with (
        pytest.warns(UserWarning, match="Retry"),
        pytest.raises(OSError, match=r"no route to host.*cifar-10-python.*SKBAIT_DATA"),
    ):
        fetch_cifar10(home)
    assert list(home.iterdir()) == []


def test_a_download_that_is_forbidden_says_what_to_do(tmp_path):
    home = tmp_path / "home"
    with pytest.raises(OSError, match=r"download_if_missing=False.*SKBAIT_DATA"):
        fetch_cifar10(home, download_if_missing=False)
    assert not home.exists()


def test_a_download_is_checked_kept_and_used(images, tmp_path, monkeypatch):
    source = save_archive(tmp_path / "site", *images)
    trust(monkeypatch, source)
    asked = []

    def deliver(url, target):
        asked.append(url)
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", deliver)
    for _ in range(2):
        X, _ = fetch_cifar10(tmp_path / "home", return_X_y=True)
        np.testing.assert_array_equal(X, images[0][:10])
    assert asked == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]


def test_a_download_with_another_checksum_is_not_kept(tmp_path, monkeypatch):
    def deliver(url, target):
        target.write_bytes(b"a login page, say")

    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", deliver)
    with pytest.raises(OSError, match=r"SHA256.*SKBAIT_DATA"):
        fetch_cifar10(tmp_path)
    assert not (tmp_path / _cifar10.ARCHIVE).exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"X_train": None}, "X_train"),
        ({"X_train": np.zeros((10, 3, 32, 32), np.uint8)}, r"\(n, 32, 32, 3\) uint8"),
        ({"X_train": np.zeros((10, 32, 32, 3), np.float32)}, "float32"),
        ({"y_train": np.zeros(9, np.int64)}, "10 integers"),
        ({"y_train": np.array([None] * 10)}, "not CIFAR-10"),
        ({"y_train": np.full(10, 99)}, "y_train must be from 0 to 9, got 99 to 99"),
        ({"y_test": np.array([-1, 0])}, "y_test must be from 0 to 9, got -1 to 0"),
        ({"X_test": np.zeros((2, 32, 32, 1), np.uint8)}, r"X_test must be \(n, 32, 32, 3\)"),
        ({"X_test": np.uint8(0), "y_test": np.int64(0)}, r"X_test must be .* got \(\) uint8"),
        ({"y_test": np.zeros((2, 1), np.int64)}, r"y_test must be 2 integers, got \(2, 1\)"),
        ({"target_names": np.array("airplane")}, r"target_names must be 10 texts, got \(\)"),
        ({"target_names": np.arange(10)}, "target_names must be 10 texts, got .* int64"),
        ({"target_names": np.array(CLASSES[:3])}, r"target_names must be 10 texts, got \(3,\)"),
    ],
)
def test_arrays_of_another_form_are_named(images, tmp_path, changes, message):
    save_arrays(tmp_path, *images, **changes)
    with pytest.raises(OSError, match=message) as caught:
        fetch_cifar10(tmp_path, subset="all")
    assert str(tmp_path / "cifar10.npz") in str(caught.value)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "cifar10.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(OSError, match=r"cifar10\.npz is not CIFAR-10"):
        fetch_cifar10(tmp_path)


def test_an_unknown_subset_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"subset must be.*'validation'"):
        fetch_cifar10(tmp_path, subset="validation")


def test_the_real_images(shared_dir):
    folder = shared_dir / "data"
    if not (folder / "cifar10.npz").exists():
        pytest.skip(f"no cifar10.npz in {folder}")
    bunch = fetch_cifar10(folder, subset="test")
    assert bunch.data.shape[1:] == (32, 32, 3)
    assert set(np.unique(bunch.target)) == set(range(10))
    assert bunch.target_names == CLASSES


@pytest.fixture
def features(rng):
    """Twelve rows of features and labels, the last two of them for tests."""
    return rng.normal(size=(12, 7)).astype(np.float16), rng.integers(0, 10, 12)


def save_features(folder, X, y, **changes):
    arrays = {"X_train": X[:10], "y_train": y[:10], "X_test": X[10:], "y_test": y[10:]}
    arrays |= changes
    folder.mkdir(exist_ok=True)
    path = folder / "cifar10_features.npz"
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "subset, part", [("train", slice(0, 10)), ("test", slice(10, 12)), ("all", slice(0, 12))]
)
def test_features_are_float32(features, tmp_path, subset, part, dtype):
    X, y = features
    save_features(tmp_path, X.astype(dtype), y.astype(np.uint8))
    bunch = fetch_cifar10_features(tmp_path, subset=subset)
    np.testing.assert_array_equal(bunch.data, X[part])
    np.testing.assert_array_equal(bunch.target, y[part])
    assert bunch.data.dtype == np.float32
    assert bunch.target.dtype == np.int64
    assert bunch.target_names == CLASSES
    assert "Krizhevsky" in bunch.DESCR
    pair = fetch_cifar10_features(tmp_path, subset=subset, return_X_y=True)
    np.testing.assert_array_equal(pair[0], bunch.data)
    np.testing.assert_array_equal(pair[1], bunch.target)


def test_features_are_found_in_the_data_home(features, tmp_path, monkeypatch):
    save_features(tmp_path / "scikit_learn_data", *features)
    X, _ = fetch_cifar10_features(subset="test", return_X_y=True)
    np.testing.assert_array_equal(X, features[0][10:])
    save_features(tmp_path / "home", features[0] + 1, features[1])
    monkeypatch.setenv("SKBAIT_DATA", str(tmp_path / "home"))
    X, _ = fetch_cifar10_features(subset="test", return_X_y=True)
    np.testing.assert_array_equal(X, features[0][10:] + 1)


def test_missing_features_say_how_to_make_them(tmp_path):
    home = tmp_path / "home"
    with pytest.raises(OSError, match=r"SKBAIT_DATA.*To make the file") as caught:
        fetch_cifar10_features(home)
    assert str(home) in str(caught.value)
    assert _cifar10_features.RECIPE in str(caught.value)
    assert not home.exists()
    compile(_cifar10_features.RECIPE, "recipe", "exec")
    documented = inspect.getdoc(fetch_cifar10_features)
    assert (
        textwrap.indent(_cifar10_features.RECIPE, " " * 4, lambda line: line != "\n") in documented
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"X_train": None}, "X_train"),
        ({"y_test": None}, "y_test"),
        ({"X_train": np.zeros((10, 7, 1))}, r"\(n, n_features\) floats, got \(10, 7, 1\)"),
        ({"X_train": np.zeros((10, 7), np.uint8)}, "floats, got .* uint8"),
        ({"X_train": np.full((10, 7), np.inf)}, "X_train has NaN or infinite"),
        ({"X_test": np.zeros((2, 8))}, "8"),
        ({"y_train": np.zeros(9, np.int64)}, "10 integers"),
        ({"y_train": np.zeros(10)}, "10 integers, got .* float64"),
        ({"y_test": np.array([0, 10])}, "y_test must be from 0 to 9, got 0 to 10"),
        ({"y_train": np.array([None] * 10)}, "not features of CIFAR-10"),
    ],
)
def test_features_of_another_form_are_named(features, tmp_path, changes, message):
    path = save_features(tmp_path, *features, **changes)
    with pytest.raises(OSError, match=message) as caught:
        fetch_cifar10_features(tmp_path, subset="all")
    assert str(path) in str(caught.value)


def test_a_broken_file_of_features_is_named(tmp_path):
    (tmp_path / "cifar10_features.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(OSError, match=r"cifar10_features\.npz is not features of CIFAR-10"):
        fetch_cifar10_features(tmp_path)


def test_a_single_array_in_place_of_an_archive_is_named(tmp_path):
    for name, fetch in (
        ("cifar10.npz", fetch_cifar10),
        ("cifar10_features.npz", fetch_cifar10_features),
    ):
        with open(tmp_path / name, "wb") as file:
            np.save(file, np.zeros((3, 2)))
        with pytest.raises(
            OSError, match=r"not .*CIFAR-10.*one array, of shape \(3, 2\)"
        ) as caught:
            fetch(tmp_path)
        assert str(tmp_path / name) in str(caught.value)


def test_any_damaged_byte_of_the_directory_is_named(features, tmp_path):
    path = save_features(tmp_path, *features)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir

    def outcome():
        try:
            return fetch_cifar10_features(tmp_path).data.tolist()
        except OSError as error:
            return str(error)

    expected = outcome()
    for position in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        found = outcome()
        # a few bytes are not read: the date, say
        assert found == expected or f"{path} is not features of CIFAR-10" in found


@pytest.mark.parametrize(
    "name, fetch",
    [
        ("cifar10.npz", fetch_cifar10),
        ("cifar10_features.npz", fetch_cifar10_features),
    ],
)
def test_a_damaged_stream_is_named(images, features, tmp_path, name, fetch):
    X, y = images if fetch is fetch_cifar10 else features
    arrays = {"X_train": X, "y_train": y, "target_names": np.array(CLASSES)}
    np.savez_compressed(tmp_path / name, **arrays)
    damaged = bytearray((tmp_path / name).read_bytes())
    with zipfile.ZipFile(tmp_path / name) as archive:
        member = archive.getinfo("X_train.npy")
    name_and_extra = damaged[member.header_offset + 26 : member.header_offset + 30]
    start = member.header_offset + 30 + sum(struct.unpack("<HH", name_and_extra))
    damaged[start] = 0xFF  # a block of a kind that deflate does not have
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(OSError, match=r"not .*CIFAR-10") as caught:
        fetch(tmp_path)
    assert isinstance(caught.value.__cause__, zlib.error)
    assert str(tmp_path / name) in str(caught.value)


def test_an_unknown_subset_of_features_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"subset must be.*'validation'"):
        fetch_cifar10_features(tmp_path, subset="validation")


def test_the_real_features(shared_dir):
    folder = shared_dir / "data"
    if not (folder / "cifar10_features.npz").exists():
        pytest.skip(f"no cifar10_features.npz in {folder}")
    X, y = fetch_cifar10_features(folder, subset="test", return_X_y=True)
    assert X.ndim == 2
    assert len(X) == len(y)
    assert set(np.unique(y)) == set(range(10))

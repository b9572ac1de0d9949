# SPDX-License-Identifier: BSD-3-Clause
"""Seeds, threads and data that all tests share.

``SKBAIT_TEST_SEED=7 make test`` runs everything once more on other random data: the fixture
`seed` gives 7 instead of 0, and hypothesis draws examples of its own instead of those that each
test's source derives. A test must hold for every seed.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
TEST_SEED = int(os.environ.get("SKBAIT_TEST_SEED", "0"))
# Data kept beside the checkout (goldens, real images): needed by the tests that ask for it, and
# by nothing else.
SHARED = Path(os.environ.get("SKBAIT_SHARED") or ROOT.parent / "shared").resolve()


@pytest.hookimpl(tryfirst=True)  # before hypothesis' own plugin reads its options
def pytest_configure(config):
    """Load the hypothesis profile; give each of several test processes one thread."""
    fixed = TEST_SEED == 0
    common = {
        # a first call compiles and warms caches: no single example has a time limit
        "deadline": None,
        "derandomize": fixed,
        "database": None,
        "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    }
    settings.register_profile("quick", max_examples=25, **common)
    settings.register_profile("thorough", max_examples=500, **common)
    settings.load_profile(os.environ.get("SKBAIT_HYPOTHESIS_PROFILE", "quick"))
    if not fixed and config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(TEST_SEED)
    if getattr(config.option, "numprocesses", None):
        # The workers of pytest-xdist inherit this: several processes whose threads wait for each
        # other by spinning are many times slower than as many with one thread.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_report_header(config):
    """Say what a failure needs to be repeated."""
    shared = SHARED if SHARED.is_dir() else f"{SHARED} (absent: tests that need it are skipped)"
    return [
        f"skbait: SKBAIT_TEST_SEED={TEST_SEED}, torch {torch.__version__}, "
        f"cuda {'yes' if torch.cuda.is_available() else 'no'}",
        f"skbait: data beside the checkout: {shared}",
    ]


def load_api_reference():
    """Return the module with the table of the API reference, which lies outside the package."""
    spec = importlib.util.spec_from_file_location(
        "api_reference", ROOT / "doc" / "api_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def seed():
    """The seed from which a test draws its data (environment: SKBAIT_TEST_SEED, default 0)."""
    return TEST_SEED


@pytest.fixture
def rng(seed):
    """A fresh NumPy generator on `seed`."""
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def shared_dir():
    """Return the folder of data beside the checkout; skip where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED}: set SKBAIT_SHARED to one with goldens/ and data/")
    return SHARED


@pytest.fixture(autouse=True)
def _global_random_states(seed):
    """Begin each test from the same global random states, whatever ran before it."""
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    yield
    np.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)

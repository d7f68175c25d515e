"""Shallow heads against scikit-learn's own pipelines; what is saved gives the same numbers without scikit-learn."""

import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lorascope.statistics.shallow import Shallow, fit_logistic, fit_svc


def clusters(classes, clips=60, features=12, seed=0):
    """Overlapping clusters whose columns have very different spreads."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(clips) % classes)
    centres = random.normal(size=(classes, features))
    spread = 10.0 ** random.uniform(-2, 2, features)
    return ((centres[labels] + random.normal(size=(clips, features))) * spread).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_logistic_regression_is_scikit_learns_on_standardised_features(classes):
    x, y = clusters(classes)
    other, _ = clusters(classes, seed=1)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=5000)).fit(x.astype(float), y)
    logits = fit_logistic(x, y, classes, 0.3).logits(other)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        shifted / shifted.sum(axis=1, keepdims=True), pipeline.predict_proba(other.astype(float)), atol=1e-9
    )


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_support_vector_machine_gives_scikit_learns_decisions(kernel, classes):
    x, y = clusters(classes)
    other, _ = clusters(classes, seed=1)
    pipeline = make_pipeline(StandardScaler(), SVC(C=0.3, kernel=kernel, decision_function_shape="ovr"))
    expected = pipeline.fit(x.astype(float), y).decision_function(other.astype(float))
    logits = fit_svc(x, y, classes, 0.3, kernel).logits(other)
    assert logits.shape == (len(other), classes)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0] if classes == 2 else logits, expected, atol=1e-9)


@pytest.mark.parametrize("kernel", [None, "linear", "rbf"])
@pytest.mark.parametrize("classes", [2, 4])
def test_what_is_saved_gives_the_same_logits(kernel, classes):
    x, y = clusters(classes)
    head = fit_logistic(x, y, classes, 1.0) if kernel is None else fit_svc(x, y, classes, 1.0, kernel)
    again = Shallow.from_tensors(load(save(head.tensors())))
    np.testing.assert_array_equal(again.logits(x), head.logits(x))


def test_a_column_that_never_changes_does_no_harm():
    x, y = clusters(3)
    x[:, 4] = 7.0
    assert np.isfinite(fit_logistic(x, y, 3, 1.0).logits(x)).all()


def test_parameters_are_what_was_fitted_to_the_labels():
    x, y = clusters(3)
    assert fit_logistic(x, y, 3, 1.0).parameters == 3 * 12 + 3
    assert fit_svc(x, y, 3, 1.0, "linear").parameters == 3 * 12 + 3  # three pairs of three classes
    rbf = fit_svc(x, y, 3, 1.0, "rbf")
    assert rbf.support is not None and rbf.parameters == 3 * len(rbf.support) + 3


def test_a_limit_on_memory_is_told_and_not_spun_on():
    """OpenBLAS tries for ever to map its buffers; which of them there is room for depends on what was called before."""
    code = """
import resource, numpy as np
from lorascope.errors import LorascopeError
from lorascope.statistics.shallow import fit_logistic
x, y = np.random.default_rng(0).normal(size=(400, 384)), np.arange(400) % 4
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 40 * 2**20, resource.RLIM_INFINITY))
try:
    fit_logistic(x, y, 4, 1.0)
except LorascopeError as error:
    print(error)
"""
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=settings)
    assert done.stdout.startswith("memory: linear algebra needs 128 MiB") and "ulimit -v" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1

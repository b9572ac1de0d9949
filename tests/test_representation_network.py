# SPDX-License-Identifier: BSD-3-Clause
"""skorch nets: features, probabilities and logits, and which layer they come from."""

from __future__ import annotations

import copy
import functools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from representation_nets import CNN, MLP, OneLogit, digits, initialized, make_net
from scipy import sparse
from sklearn.exceptions import NotFittedError
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.helper import SliceDict
from torch import nn

from skbait.representation import can_represent, probabilities, represent


@pytest.fixture(scope="module")
def fitted_cnn():
    X, y = digits()
    torch.manual_seed(0)
    return make_net(max_epochs=4).fit(X[:600], y[:600])


@pytest.fixture
def X4():
    return np.random.default_rng(0).normal(size=(37, 4)).astype(np.float32)


# ---- outputs -----------------------------------------------------------------------------------


def test_a_trained_cnn_on_digits(fitted_cnn):
    X, y = digits()
    seen = represent(fitted_cnn, X)
    assert seen.features.shape == (len(X), 16)
    assert seen.features.dtype == torch.float32
    np.testing.assert_array_equal(seen.probabilities, fitted_cnn.predict_proba(X))
    head = fitted_cnn.module_.head
    with torch.no_grad():
        torch.testing.assert_close(head(seen.features), seen.logits)
    torch.testing.assert_close(torch.softmax(seen.logits, 1), seen.probabilities)
    np.testing.assert_array_equal(seen.classes, np.arange(10))
    assert (seen.probabilities.argmax(1).numpy() == y).mean() > 0.8
    p, classes = probabilities(fitted_cnn, X)
    np.testing.assert_array_equal(p, seen.probabilities)
    np.testing.assert_array_equal(classes, seen.classes)


@pytest.mark.parametrize(
    "params",
    [
        {"criterion": nn.CrossEntropyLoss},
        {"criterion": nn.CrossEntropyLoss, "module__ending": "log_softmax"},
        {"criterion": nn.CrossEntropyLoss, "module__ending": "tuple"},
        {"criterion": nn.NLLLoss, "module__ending": "softmax"},
        {
            "criterion": nn.NLLLoss,
            "module__ending": "log_softmax",
            "predict_nonlinearity": torch.exp,
        },
        {
            "criterion": nn.MultiMarginLoss,
            "predict_nonlinearity": functools.partial(torch.softmax, dim=-1),
        },
    ],
)
def test_probabilities_are_those_of_predict_proba(params):
    X, _ = digits()
    X = X[:100]
    net = initialized(make_net(**params))
    seen = represent(net, X)
    np.testing.assert_array_equal(seen.probabilities, net.predict_proba(X))
    torch.testing.assert_close(torch.softmax(seen.logits, 1), seen.probabilities)
    np.testing.assert_array_equal(probabilities(net, X)[0], seen.probabilities)


def test_a_plain_net_with_log_softmax_and_nll_loss():
    X, _ = digits()
    net = NeuralNet(CNN, nn.NLLLoss, module__ending="log_softmax", train_split=None)
    seen = represent(initialized(net), X[:50])
    np.testing.assert_allclose(seen.probabilities, np.exp(net.predict_proba(X[:50])), rtol=1e-6)
    np.testing.assert_array_equal(seen.classes, np.arange(10))


def test_log_probabilities_of_minus_infinity_are_zero_probabilities(X4):
    class Hard(MLP):
        def forward(self, x):
            return torch.log_softmax(1e5 * super().forward(x), dim=1).clamp_min(-torch.inf)

    class Masked(MLP):
        def forward(self, x):
            z = super().forward(x)
            z = torch.cat([z[:, :2], torch.full_like(z[:, :1], -torch.inf)], dim=1)
            return torch.log_softmax(z, dim=1)

    for module in (Hard, Masked):
        net = NeuralNet(module, nn.NLLLoss, train_split=None)
        seen = represent(initialized(net), X4)
        torch.testing.assert_close(seen.probabilities.sum(1), torch.ones(len(X4)))
    assert (seen.probabilities[:, 2] == 0).all()


@pytest.mark.parametrize("ending", ["flat", "column", "squeeze"])
@pytest.mark.parametrize("n_rows", [37, 33])  # 33: a last batch of one row
def test_one_logit_becomes_two_columns(X4, ending, n_rows):
    net = NeuralNetBinaryClassifier(OneLogit, module__ending=ending, batch_size=8)
    seen = represent(initialized(net), X4[:n_rows])
    assert seen.features.shape == (n_rows, 5)
    assert seen.logits.shape == (n_rows, 1)
    torch.testing.assert_close(seen.probabilities, torch.tensor(net.predict_proba(X4[:n_rows])))
    torch.testing.assert_close(torch.sigmoid(seen.logits[:, 0]), seen.probabilities[:, 1])
    np.testing.assert_array_equal(seen.classes, [0, 1])


@pytest.mark.parametrize("ending", ["flat", "column", "squeeze"])
def test_one_logit_says_what_two_do(X4, ending):
    """Both classes have all their digits where the other is nearly certain."""
    net = initialized(NeuralNetBinaryClassifier(OneLogit, module__ending=ending, batch_size=8))
    for layer in [m for m in net.module_.modules() if isinstance(m, nn.Linear)][-1:]:
        nn.init.normal_(layer.weight, std=60.0)
    swapped = copy.deepcopy(net)
    last = [m for m in swapped.module_.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.neg_()
        last.bias.neg_()
    seen, other = represent(net, X4), represent(swapped, X4)
    assert seen.logits.max() - seen.logits.min() > 20.0
    torch.testing.assert_close(seen.probabilities, other.probabilities.flip(1), rtol=0, atol=0)
    torch.testing.assert_close(probabilities(net, X4)[0], seen.probabilities, rtol=0, atol=0)
    z = seen.logits.double()
    exact = torch.cat([-z, z], dim=1).sigmoid()
    torch.testing.assert_close(seen.probabilities.double(), exact, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("kind", ["temperature", "clamped", "sigmoid"])
def test_probabilities_are_those_of_the_net_where_it_makes_them_itself(X4, kind):
    """Whatever other rows there are."""

    class Own(OneLogit):
        def forward(self, x):
            z = super().forward(x).squeeze(-1)
            if kind == "temperature":
                return torch.sigmoid(z / 2)
            p = torch.sigmoid(z)
            return p.clamp(1e-7, 1 - 1e-7) if kind == "clamped" else p

    net = initialized(NeuralNetBinaryClassifier(Own, criterion=nn.BCELoss))
    nn.init.normal_(net.module_.head.weight, std=60.0)
    for rows in (X4, X4[:2], X4[5:6]):
        seen, alone = represent(net, rows).probabilities, probabilities(net, rows)[0]
        torch.testing.assert_close(seen, torch.tensor(net.predict_proba(rows)), rtol=0, atol=0)
        torch.testing.assert_close(alone, seen, rtol=0, atol=0)


def test_what_skorch_makes_of_outputs_is_asked_of_it(X4):
    class Cooler(NeuralNetBinaryClassifier):
        def _get_predict_nonlinearity(self):
            made = super()._get_predict_nonlinearity()
            return lambda z: made(z / 10)

    class Two(NeuralNetBinaryClassifier):
        def initialize_criterion(self):
            super().initialize_criterion()
            self.other_ = nn.MSELoss()
            return self

    for net in (Cooler(OneLogit), Two(OneLogit, module__ending="sigmoid")):
        initialized(net)
        nn.init.normal_(net.module_.head.weight, std=60.0)
        expected = torch.as_tensor(net.predict_proba(X4)).reshape(37, -1)
        for found in (represent(net, X4).probabilities, probabilities(net, X4)[0]):
            torch.testing.assert_close(found[:, -1], expected[:, -1], rtol=0, atol=0)


@pytest.mark.parametrize(
    "nonlinearity",
    [
        lambda z: torch.sigmoid(z).clamp(0.01, 0.99),
        lambda z: torch.sigmoid(z / 2),
        lambda z: torch.sigmoid(z.double()),
        lambda z: torch.sigmoid(z * torch.linspace(0.5, 2.0, len(z))),
        lambda z: torch.stack([1 - torch.sigmoid(z), torch.sigmoid(z)], dim=1),
    ],
)
def test_a_nonlinearity_of_ones_own_is_the_last_word(X4, nonlinearity):
    net = initialized(NeuralNetBinaryClassifier(OneLogit, predict_nonlinearity=nonlinearity))
    nn.init.normal_(net.module_.head.weight, std=60.0)
    expected = torch.as_tensor(net.predict_proba(X4)).reshape(37, -1)
    for found in (represent(net, X4).probabilities, probabilities(net, X4)[0]):
        torch.testing.assert_close(found[:, -1], expected[:, -1], rtol=0, atol=0)


def test_one_logit_in_other_kinds_of_net(X4):
    bce = NeuralNetBinaryClassifier(OneLogit, criterion=nn.BCELoss, module__ending="sigmoid")
    seen = represent(initialized(bce), X4)
    torch.testing.assert_close(seen.probabilities, torch.tensor(bce.predict_proba(X4)))

    plain = NeuralNet(OneLogit, nn.BCEWithLogitsLoss, module__ending="column")
    seen = represent(initialized(plain), X4)
    torch.testing.assert_close(torch.sigmoid(seen.logits[:, 0]), seen.probabilities[:, 1])
    assert seen.probabilities.shape == (37, 2)

    two = make_net(OneLogit, criterion=nn.NLLLoss, module__ending="two")
    seen = represent(initialized(two), X4)
    assert seen.logits.shape == (37, 1)
    torch.testing.assert_close(seen.probabilities, torch.tensor(two.predict_proba(X4)))


def test_scores_that_are_no_probabilities_are_refused(X4):
    net = initialized(make_net(MLP, criterion=nn.NLLLoss))  # the module should end in a softmax
    for ask in (represent, probabilities):
        with pytest.raises(ValueError, match=r"does not give probabilities.*CrossEntropyLoss"):
            ask(net, X4)
    with pytest.raises(ValueError, match=r"does not give probabilities.*predict_nonlinearity"):
        represent(initialized(make_net(MLP, criterion=nn.MultiMarginLoss)), X4)


def test_a_net_that_diverged_is_named(X4):
    net = initialized(make_net(MLP))
    with torch.no_grad():
        net.module_.head.weight[0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinity for 37 of 37 rows.*diverged"):
        represent(net, X4)
    net = initialized(make_net(MLP))
    X4[3, 1] = np.inf
    with pytest.raises(ValueError, match="for 1 of 37 rows"):
        represent(net, X4)


def test_nets_that_cannot_be_used(X4):
    with pytest.raises(NotFittedError):
        represent(make_net(MLP), X4)
    regressor = NeuralNetRegressor(MLP)
    assert not can_represent(regressor)
    assert can_represent(make_net(MLP))
    with pytest.raises(TypeError, match="NeuralNetRegressor is a regressor"):
        represent(initialized(regressor), X4)
    with pytest.raises(ValueError, match="no rows"):
        represent(initialized(make_net(MLP)), X4[:0])
    images = initialized(make_net(nn.Conv2d, **_params(in_channels=4, out_channels=3)))
    with pytest.raises(ValueError, match="shape"):
        probabilities(images, np.zeros((5, 4, 8, 8), dtype=np.float32))


def _params(**kwargs):
    return {f"module__{key}": value for key, value in {"kernel_size": 3, **kwargs}.items()}


def test_half_precision_comes_out_as_float32(X4):
    class Half(MLP):
        def forward(self, x):
            return self.head(self.body(x).bfloat16())

        def __init__(self):
            super().__init__()
            self.head.bfloat16()

    seen = represent(initialized(make_net(Half)), X4)
    assert {seen.features.dtype, seen.logits.dtype, seen.probabilities.dtype} == {torch.float32}

    class Double(MLP):
        def __init__(self):
            super().__init__()
            self.double()

    seen = represent(initialized(make_net(Double)), X4.astype(np.float64))
    assert seen.features.dtype == torch.float64


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize(
    "ask", [represent, probabilities, functools.partial(represent, last_layer="head")]
)
def test_x_of_the_wrong_dtype_is_explained(X4, dtype, ask):
    net = initialized(make_net(MLP))
    with pytest.raises(ValueError, match=rf"X is {dtype}.*MLP are float32: pass X.astype\(np.f"):
        ask(net, np.abs(X4).astype(dtype))


# ---- classes -----------------------------------------------------------------------------------


def test_labels_of_the_columns(X4):
    net = initialized(make_net(MLP, classes=["a", "b", "c"]))
    assert represent(net, X4).classes.tolist() == ["a", "b", "c"]
    # fitted on rows that missed class 1: the columns are 0, 1, 2 all the same
    net = make_net(MLP, max_epochs=1).fit(X4[:4], np.array([0, 2, 2, 0]))
    assert represent(net, X4).classes.tolist() == [0, 1, 2]
    net = initialized(make_net(MLP, classes=[]))
    assert represent(net, X4).classes.tolist() == [0, 1, 2]
    net = initialized(make_net(MLP, classes=range(5)))
    with pytest.raises(ValueError, match=r"classes= with 5 labels.*3 outputs"):
        represent(net, X4)


# ---- which layer -------------------------------------------------------------------------------


class Heads(nn.Module):
    """Two heads, of which the second runs last and matters not."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)
        self.rotation = nn.Linear(5, 3)

    def forward(self, x):
        h = torch.relu(self.body(x))
        return self.head(h), self.rotation(h)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.body(x)
        return self.head(h + self.inner(h))


class Scaled(MLP):
    """Temperature and normalisation after the last linear layer."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        return self.norm(super().forward(x)) / 2


class InPlace(MLP):
    def forward(self, x):
        z = super().forward(x)
        z += 1
        z.clamp_(-2, 2)
        return z.mul_(2)


class InPlaceAfterSoftmax(MLP):
    """Gradients could not be computed through this."""

    def forward(self, x):
        p = torch.softmax(super().forward(x), 1)
        p += 0.0
        return p.clamp_(1e-7, 1).log_()


class FrozenBody(MLP):
    def __init__(self):
        super().__init__()
        self.body.requires_grad_(False)
        self.head.requires_grad_(False)

    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.head(input=h)


class Sequence(nn.Module):
    """The linear layer sees (rows, 1, columns)."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.body(x)[:, None])[:, 0]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x[:, :, None])).mean(1))


@pytest.mark.parametrize(
    "module",
    [
        Heads,
        Residual,
        Scaled,
        InPlace,
        InPlaceAfterSoftmax,
        FrozenBody,
        Sequence,
        Attention,
        MLP,
    ],
)
def test_the_layer_that_gives_the_logits_is_found(X4, module):
    net = initialized(make_net(module))
    seen = represent(net, X4)
    np.testing.assert_allclose(seen.probabilities, net.predict_proba(X4), rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(net.module_.head(seen.features), seen.logits)
    named = represent(net, X4, last_layer="head")
    torch.testing.assert_close(named.features, seen.features)


def test_a_linear_layer_as_the_whole_module(X4):
    net = make_net(nn.Linear, module__in_features=4, module__out_features=3)
    seen = represent(initialized(net), X4)
    np.testing.assert_array_equal(seen.features, X4)


class NoLinear(nn.Module):
    """A convolution as head."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv1d(4, 5, 1), nn.Conv1d(5, 3, 1)

    def forward(self, x):
        return self.head(torch.relu(self.body(x[:, :, None])))[:, :, 0]


class Unused(NoLinear):
    def __init__(self):
        super().__init__()
        self.side = nn.Linear(4, 3)

    def forward(self, x):
        return super().forward(x), self.side(x)


class WideAndDeep(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.body, self.deep = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.deep(torch.relu(self.body(x))) + self.wide(x)


class Twice(MLP):
    def forward(self, x):
        return super().forward(x) + super().forward(-x)


class OnceForTheSide(MLP):
    def forward(self, x):
        return super().forward(x), super().forward(-x)


class Maxout(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 6)

    def forward(self, x):
        return self.head(self.body(x)).reshape(-1, 3, 2).amax(2)


class Steps(nn.Module):
    """The linear layer works on every step of a sequence; the mean comes after it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        return self.head(x.reshape(-1, 2, 2)).mean(1)


class Detached(MLP):
    def forward(self, x):
        return super().forward(x).detach()


class Inference(MLP):
    """Some authors forbid gradients outside of training."""

    def forward(self, x):
        with torch.inference_mode(not self.training):
            return super().forward(x)


@pytest.mark.parametrize(
    "module, message",
    [
        (NoLinear, "NoLinear was not found.*last_layer= .*linear layers of this net: none"),
        (Unused, "Unused was not found.*last_layer= .*'side'"),
        (WideAndDeep, "ambiguous: the outputs of 'deep' and 'wide'.*last_layer="),
        (Twice, "'head' is used 2 times.*last_layer="),
        (OnceForTheSide, "'head' is used 2 times.*last_layer="),
        (Maxout, "'head' gives 6 columns.*Maxout has 3.*last_layer="),
        (Steps, r"shape \(37, 2, 2\) goes through the module 'head'.*last_layer="),
        (Inference, "Inference was not found.*last_layer=.*'body.0', 'head'"),
        (Detached, "Detached was not found.*last_layer=.*'body.0', 'head'"),
    ],
)
def test_no_single_last_layer(X4, module, message):
    net = initialized(make_net(module))
    with pytest.raises(ValueError, match=message):
        represent(net, X4)
    assert not _hooks(net)
    # probabilities need no layer
    np.testing.assert_array_equal(probabilities(net, X4)[0], net.predict_proba(X4))


class Cosine(nn.Module):
    """A head of the user's own."""

    def __init__(self, width, n_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_classes, width))

    def forward(self, h):
        return 5 * nn.functional.normalize(h) @ nn.functional.normalize(self.weight).T


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Sequential(Cosine(5, 3)))

    def forward(self, x):
        return self.net(x)


def test_last_layer_names_any_module(X4):
    net = initialized(make_net(Custom))
    with pytest.raises(ValueError, match="last_layer="):  # the linear layer has 5 columns
        represent(net, X4)
    seen = represent(net, X4, last_layer="net.2")
    assert seen.features.shape == (37, 5)
    torch.testing.assert_close(torch.softmax(seen.logits, 1), seen.probabilities)
    torch.testing.assert_close(represent(net, X4, last_layer="net.2.0").features, seen.features)

    net = initialized(make_net(WideAndDeep))
    seen = represent(net, X4, last_layer="deep")
    assert seen.features.shape == (37, 5)
    np.testing.assert_array_equal(seen.probabilities, net.predict_proba(X4))
    np.testing.assert_array_equal(represent(net, X4, last_layer="wide").features, X4)
    for module in (Detached, Inference, NoLinear):  # in the last the layer gets (rows, 5, 1)
        seen = represent(initialized(make_net(module)), X4, last_layer="head")
        assert seen.features.shape == (37, 5)
        torch.testing.assert_close(torch.softmax(seen.logits, 1), seen.probabilities)


@pytest.mark.parametrize(
    "module, name, message",
    [
        (MLP, "tail", "last_layer='tail' names no module.*'body.0', 'head'"),
        (MLP, 3, "last_layer=3 names no module"),
        (NoLinear, "tail", "linear layers are none"),
        (MLP, "body.0", "'body.0' gives 5 columns.*MLP has 3"),
        (Twice, "head", "'head' is used 2 times"),
        (Detached, "unused", "names no module"),
    ],
)
def test_last_layer_that_cannot_be_it(X4, module, name, message):
    net = initialized(make_net(module))
    with pytest.raises(ValueError, match=message):
        represent(net, X4, last_layer=name)
    assert not _hooks(net)


def test_last_layer_that_is_never_called(X4):
    class Spare(MLP):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(5, 3)

    net = initialized(make_net(Spare))
    with pytest.raises(ValueError, match=r"'spare' was not called.*last_layer="):
        represent(net, X4, last_layer="spare")
    assert represent(net, X4).features.shape == (37, 5)


def test_a_net_with_two_modules(X4):
    class TwoModules(NeuralNetClassifier):
        def initialize_module(self):
            super().initialize_module()
            self.top_ = nn.Linear(5, 3)
            return self

        def infer(self, x, **fit_params):
            return self.top_(super().infer(x, **fit_params))

    net = make_net(nn.Linear, module__in_features=4, module__out_features=5).get_params()
    net = {k: v for k, v in net.items() if not k.startswith("callbacks__")}
    net = initialized(TwoModules(**net))
    seen = represent(net, X4)
    np.testing.assert_array_equal(seen.probabilities, net.predict_proba(X4))
    torch.testing.assert_close(represent(net, X4, last_layer="top_").features, seen.features)


class CompiledInside(MLP):
    """Two ways to compile a part of a network."""

    def __init__(self):
        super().__init__()
        self.body = torch.compile(self.body, backend="eager")
        self.head.compile(backend="eager")


@pytest.mark.parametrize(
    "params",
    [
        {"module": MLP, "compile": True, "compile__backend": "eager"},
        {"module": CompiledInside},
    ],
)
def test_compiled_nets(X4, params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile's own
        net = initialized(make_net(**params))
        expected = net.predict_proba(X4)
        seen = represent(net, X4)
        np.testing.assert_allclose(seen.probabilities, expected, rtol=1e-5)
        np.testing.assert_allclose(net.predict_proba(X4), expected)
        assert seen.features.shape == (37, 5)
        named = represent(net, X4, last_layer="head")
        torch.testing.assert_close(named.features, seen.features)
        with pytest.raises(ValueError, match=r"linear layers are 'body.0', 'head'"):
            represent(net, X4, last_layer="tail")


def test_a_net_that_predicts_in_its_own_way(X4):
    class Smoothed(NeuralNetClassifier):
        def predict_proba(self, X):
            return 0.9 * super().predict_proba(X) + 0.1 / 3

    class Averaged(NeuralNetClassifier):
        def predict_proba(self, X):
            return (super().predict_proba(X) + super().predict_proba(-X)) / 2

    base = initialized(make_net(MLP, batch_size=8))
    net = initialized(Smoothed(MLP, criterion=nn.CrossEntropyLoss, batch_size=8))
    seen = represent(net, X4)
    np.testing.assert_array_equal(seen.probabilities, net.predict_proba(X4))
    torch.testing.assert_close(seen.features, represent(base, X4).features)
    np.testing.assert_array_equal(probabilities(net, X4)[0], seen.probabilities)
    net = initialized(Averaged(MLP, criterion=nn.CrossEntropyLoss))
    with pytest.raises(ValueError, match="more than once for a row"):
        represent(net, X4)
    np.testing.assert_array_equal(probabilities(net, X4)[0], net.predict_proba(X4))


def _hooks(net):
    return [h for m in net.module_.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]


# ---- inputs ------------------------------------------------------------------------------------


class Pairs(torch.utils.data.Dataset):
    """Gives (x, y), or x alone."""

    def __init__(self, X, labelled=True):
        self.X, self.labelled = X, labelled

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return (self.X[i], 0) if self.labelled else self.X[i]


def test_every_kind_of_x_gives_the_same(X4, tmp_path):
    net = initialized(make_net(MLP, batch_size=10))
    expected = represent(net, X4)
    path = tmp_path / "pool.npy"
    np.save(path, X4)
    read_only = X4.copy()
    read_only.flags.writeable = False
    kinds = {
        "tensor": torch.from_numpy(X4),
        "memory map": np.load(path, mmap_mode="r"),
        "read-only": read_only,
        "fortran": np.asfortranarray(X4),
        "reversed twice": X4[::-1].copy()[::-1],
        "csr matrix": sparse.csr_matrix(X4),
        "csr array": sparse.csr_array(X4),
        "coo array": sparse.coo_array(X4),
        "labelled dataset": Pairs(X4),
        "unlabelled dataset": Pairs(X4, labelled=False),
        "tensor dataset": torch.utils.data.TensorDataset(torch.from_numpy(X4)),
        "subset": torch.utils.data.Subset(Pairs(np.concatenate([X4, X4])), range(37)),
    }
    for kind, X in kinds.items():
        seen = represent(net, X)
        for name in ("features", "probabilities", "logits"):
            torch.testing.assert_close(
                getattr(seen, name), getattr(expected, name), msg=f"{kind}: {name}"
            )
        torch.testing.assert_close(probabilities(net, X)[0], expected.probabilities, msg=kind)


def test_dicts_and_frames_reach_the_module_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(7, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, size, kind):
            return self.head(torch.cat([size.reshape(-1, 1), self.embedding(kind.flatten())], 1))

    rng = np.random.default_rng(0)
    X = {"size": rng.random(37).astype(np.float32), "kind": rng.integers(7, size=37)}
    net = initialized(make_net(Named, batch_size=10))
    expected = net.predict_proba(X)
    for given in (X, SliceDict(**X), pd.DataFrame(X)):
        seen = represent(net, given)
        assert seen.features.shape == (37, 4)
        np.testing.assert_allclose(seen.probabilities, expected, rtol=1e-6)
    X["size"] = X["size"].astype(np.float64)  # the integers are right, the floats are not
    with pytest.raises(
        ValueError, match=r"X\['size'\] is float64.*X\['size'\].astype\(np.float32"
    ):
        represent(net, X)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_equal_rows_get_equal_features(offset, seed):
    """Rounding differs by the place in a batch; the content of other rows is not mixed up."""
    generator = torch.Generator().manual_seed(seed)
    X = 0.1 * torch.randn(41, 12, generator=generator).numpy() + offset
    X[40] = X[0]
    net = make_net(MLP, batch_size=20, module__width=12, module__hidden=64).initialize()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        seen = represent(net, X)
        p, _ = probabilities(net, X)
    finally:
        torch.set_default_dtype(default)
    assert torch.equal(seen.features[0], seen.features[40])
    assert torch.equal(p[0], p[40])
    assert len(torch.unique(seen.features, dim=0)) == 40

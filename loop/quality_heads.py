"""Quality heads: a linear head on frozen embeddings, and a linear classifier on words and pairs of words.

numpy and scikit-learn are imported when a head is made or asked, never with this module.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loop.errors import DamagedRunError, StageError
from loop.files import make_folder, publish_folder
from loop.quality import TOP, keeps
from loop.records import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

SETTINGS, WEIGHTS = "head.json", "weights.npz"
RIDGES = tuple(10.0**power for power in range(-4, 3))
"""Among which the ridge is chosen, in shares of the variance of a feature."""
HASHED = 2**20
"""Features of words and pairs of words."""
TOKEN = r"\w+|[^\w\s]"


@dataclass(frozen=True, eq=False)
class Head:
    """A linear regression from features to a score."""

    weights: NDArray[np.float64]
    bias: float
    ridge: float
    error: float
    """Root mean square error over rows left out one at a time."""
    f1: float | None
    """Of "the rounded score reaches 3", over rows left out one at a time (FineWeb-Edu's classifier has 0.82); None
    where no row reaches it."""
    made_from: str
    """Digest of the features and scores it was made from, and of the encoder's name."""

    def score(self, features: ArrayLike) -> list[float]:
        """Scores of rows × features, neither rounded nor clipped; see `quality.keeps`."""
        import numpy as np

        return [float(score) for score in np.asarray(features, np.float64) @ self.weights + self.bias]

    def save(self, folder: Path) -> str:
        """Write it to a folder, whole or not at all; the digest of the folder's manifest."""
        return _save(folder, self)


@dataclass(frozen=True, eq=False)
class Linear:
    """A logistic regression on hashed words and pairs of words."""

    weights: NDArray[np.float32]
    bias: float
    positives: int
    negatives: int
    made_from: str
    """Digest of the texts it was made from."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """0 to 1: how much more a text is like the positives. The threshold is a percentile; see `top_share`."""
        import numpy as np

        reached = _vectors(texts) @ self.weights.astype(np.float64) + self.bias
        return [float(score) for score in np.exp(-np.logaddexp(0.0, -reached))]

    def save(self, folder: Path) -> str:
        """See Head.save."""
        return _save(folder, self)


Kind = TypeVar("Kind", Head, Linear)


def fit_head(features: ArrayLike, scores: Sequence[float], encoder: str = "", top: int = TOP) -> Head:
    """Learn an annotator's scores from rows × features; rows whose annotation is an error are left out before.

    FineWeb-Edu (arXiv 2406.17557) trains its head for 20 epochs at 3e-4 with no dropout on a frozen encoder, and
    takes the epoch that does best on held-out rows. On frozen features that is least squares held back by stopping
    early; ridge regression holds it back in closed form, here with the ridge that does best on rows left out one at
    a time (Allen 1974). No learning rate, no seed, the same head each time. All rows are in memory, as doubles.

    Args: encoder: what made the features; top: the best score an annotator gives.

    Raises: StageError when there is nothing to learn from.
    """
    import numpy as np

    x, y = np.asarray(features, np.float64), np.asarray(scores, np.float64)
    if x.ndim != 2 or len(x) != len(y) or len({*scores}) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise StageError(
            f"a head needs a row of features for each score and two different scores, all of them numbers; there are"
            f" {x.shape} features and {len({*scores})} different ones of {len(y)} scores: annotate more texts"
        )
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-12 * np.abs(x).max()] = np.inf  # a feature that never changes gets no weight
    u, s, vt = np.linalg.svd((x - mean) / spread, full_matrices=False)
    centred = y - y.mean()
    along = u.T @ centred

    def left_out(ridge: float) -> NDArray[np.float64]:
        """What each row is given by a head made without it, in closed form."""
        shrunk = s**2 / (s**2 + ridge * len(y))
        own = 1 / len(y) + u**2 @ shrunk
        given: NDArray[np.float64] = y - (centred - u @ (shrunk * along)) / np.maximum(1 - own, 1e-12)
        return given

    errors = {ridge: float(np.sqrt(np.mean((left_out(ridge) - y) ** 2))) for ridge in RIDGES}
    ridge = min(errors, key=errors.__getitem__)
    weights = vt.T @ (s / (s**2 + ridge * len(y)) * along) / spread
    wanted, said = keeps(list(y), top=top), keeps(list(left_out(ridge)), top=top)
    return Head(
        weights=weights,
        bias=float(y.mean() - mean @ weights),
        ridge=ridge,
        error=errors[ridge],
        f1=_f1(wanted, said),
        made_from=digest("head", encoder, x.shape, hashlib.sha256(x.tobytes()).hexdigest(), y.tolist(), top),
    )


def fit_linear(positives: Sequence[str], negatives: Sequence[str]) -> Linear:
    """Learn to tell positives from negatives by words and pairs of words.

    DCLM (arXiv 2406.11794) does it with fastText, a linear model on hashed words and pairs, which is no longer
    maintained; here the same kind of model is fitted to its one optimum by scikit-learn.

    Raises: StageError when either side is empty.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if not positives or not negatives:
        raise StageError("a linear classifier needs positives and negatives; give texts of both")
    labels = [True] * len(positives) + [False] * len(negatives)
    vectors = _vectors([*positives, *negatives])
    used = np.flatnonzero(vectors.getnnz(axis=0))  # what no text has stays at 0, and costs no time
    fitted = LogisticRegression(max_iter=1000).fit(vectors[:, used], labels)
    weights = np.zeros(HASHED, np.float32)
    weights[used] = fitted.coef_[0]
    return Linear(
        weights=weights,
        bias=float(fitted.intercept_[0]),
        positives=len(positives),
        negatives=len(negatives),
        made_from=digest("linear", [digest(text) for text in positives], [digest(text) for text in negatives]),
    )


def cross_check(positives: Sequence[str], negatives: Sequence[str]) -> tuple[float, float, float | None]:
    """How well a linear classifier does on texts it has not seen: each half is scored by one made from the other.

    Returns: the root mean square error of its scores against 1 for a positive and 0; that of giving all the
    positives' share; F1 of "0.5 or more".

    Raises: StageError when either side has fewer than two.
    """
    wanted: list[bool] = []
    given: list[float] = []
    for half in (0, 1):
        linear = fit_linear(positives[1 - half :: 2], negatives[1 - half :: 2])
        for label, texts in ((True, positives[half::2]), (False, negatives[half::2])):
            wanted += [label] * len(texts)
            given += linear.score(texts)
    share = sum(wanted) / len(wanted)
    error = sum((score - label) ** 2 for score, label in zip(given, wanted, strict=True)) / len(wanted)
    return error**0.5, (share * (1 - share)) ** 0.5, _f1(wanted, [score >= 0.5 for score in given])


def load_head(folder: Path) -> Head:
    """A head that was saved.

    Raises: DamagedRunError when it is not there, or is something else.
    """
    return _load(folder, Head)


def load_linear(folder: Path) -> Linear:
    """A classifier that was saved.

    Raises: see load_head.
    """
    return _load(folder, Linear)


def _vectors(texts: Sequence[str]) -> Any:
    """A sparse matrix, texts × hashed words and pairs of words, each row of length one."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(ngram_range=(1, 2), token_pattern=TOKEN, n_features=HASHED).transform(texts)


def _f1(wanted: Sequence[bool], said: Sequence[bool]) -> float | None:
    both = sum(w and s for w, s in zip(wanted, said, strict=True))
    return 2 * both / (sum(wanted) + sum(said)) if any(wanted) else None


def _save(folder: Path, model: Head | Linear) -> str:
    import numpy as np

    settings = {name: value for name, value in vars(model).items() if name != "weights"}
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a launch that died left there is no part of it
    make_folder(temporary)
    (temporary / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    np.savez_compressed(temporary / WEIGHTS, weights=model.weights)
    return publish_folder(temporary, folder)


def _load(folder: Path, kind: type[Kind]) -> Kind:
    import numpy as np

    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
            return kind(weights=stored["weights"], **settings)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DamagedRunError(f"{folder}: no {kind.__name__} can be read there ({error}); make it again") from error

"""Clusters: groups of wrong attempts that went wrong in one way, whatever their skill and level.

An attempt has signs (loop/slips.py), which tell of a cause, and words: of its setting, its problem and its response.
Both are weighted by TF-IDF; the distance of two attempts is one less their cosines' weighted mean, so that attempts
without a sign are near to nothing. HDBSCAN (Campello et al. 2013) takes what is dense and leaves the rest as noise.
numpy and scikit-learn are imported in the child alone, whose fork server has them already.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loop.crew import Report
from loop.slips import SETTING, Slip

LEAST = 15
"""Wrong attempts below which there are no clusters: three of the smallest."""
SMALLEST = 5
"""Attempts of a cluster, and neighbours that make a place dense; a share of 1 / `PARTS` where there are many."""
PARTS = 20
MOST = 2000
"""Attempts that are grouped, taken evenly: their distances are 32 MB. A probe of 100 cells has no more."""
WORDS = 0.2
"""Weight of the words: at 0.1, 0.2 and 0.3 planted causes are found alike (tests/loop/test_clusters.py). It is also
the least distance, so that two attempts of the same signs are as near as can be, whatever their words."""
SHARED, APART = 0.6, 2.0
"""A cluster must have a phrase or word that this share of its members has, so many times the others' share."""
NAMED = 4
"""Phrases and words that a cluster is known by."""
LONGEST_TEXT = 20_000


@dataclass(frozen=True)
class Group:
    """One cluster: places in what was grouped, the most typical first, and what tells it apart from the rest."""

    members: tuple[int, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class GroupJob:
    """Wrong attempts in their order."""

    slips: tuple[Slip, ...]
    texts: tuple[str, ...]
    """Problem and response of each."""


def group(job: GroupJob, report: Report) -> list[Group]:
    """Work of a child: HDBSCAN on the distances. The same attempts give the same clusters."""
    import numpy as np
    from sklearn.cluster import HDBSCAN

    words = [[*slip.setting, *_words(text)] for slip, text in zip(job.slips, job.texts, strict=True)]
    phrases = [[*slip.signs, *own] for slip, own in zip(job.slips, words, strict=True)]
    near = (1 - WORDS) * _cosines([slip.signs for slip in job.slips]) + WORDS * _cosines(words)
    apart = np.maximum(WORDS, 1 - near)
    np.fill_diagonal(apart, 0.0)
    smallest = max(SMALLEST, len(words) // PARTS)
    labels = HDBSCAN(smallest, min_samples=SMALLEST, metric="precomputed", copy=True).fit(apart).labels_
    groups = []
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        order = members[np.argsort(apart[np.ix_(members, members)].mean(axis=1), kind="stable")]
        if told := _distinguishing(phrases, labels == label):
            groups.append(Group(tuple(map(int, order)), told))
    return sorted(groups, key=lambda found: (-len(found.members), found.members))


def _cosines(rows: Sequence[Sequence[str]]) -> Any:
    """[n, n] cosines of the rows' TF-IDF; 0 for a row in which nothing stands that another has."""
    import numpy as np

    if not any(count > 1 for count in Counter(phrase for row in rows for phrase in set(row)).values()):
        return np.zeros((len(rows), len(rows)))
    weights, _ = _tf_idf(rows)
    return (weights @ weights.T).toarray()


def _tf_idf(rows: Sequence[Sequence[str]]) -> tuple[Any, Any]:
    """[n, phrases] weights of the phrases that stand in two rows or more, rows of length 1 or 0; and the phrases."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=list, min_df=2, sublinear_tf=True)
    return vectorizer.fit_transform(rows), vectorizer.get_feature_names_out()


def _distinguishing(phrases: Sequence[Sequence[str]], inside: Any) -> tuple[str, ...]:
    """What most members have and few others: by mean TF-IDF within less that without, the setting's phrases last.

    None where it is these alone.
    """
    sparse, names = _tf_idf(phrases)
    weights = sparse.toarray()
    contrast = weights[inside].mean(axis=0) - weights[~inside].mean(axis=0)
    within, without = (weights[inside] > 0).mean(axis=0), (weights[~inside] > 0).mean(axis=0)
    telling = ((within >= SHARED) & (within >= APART * without)).nonzero()[0]
    ranked = sorted(telling, key=lambda place: (names[place] in SETTING, -contrast[place], names[place]))
    told = tuple(str(names[place]) for place in ranked[:NAMED])
    return told if told and told[0] not in SETTING else ()


def _words(text: str) -> list[str]:
    """Words of three to thirty letters, but for the most usual ones of English; numbers tell through the signs."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = re.findall(r"(?<![^\W\d_])[^\W\d_]{3,30}(?![^\W\d_])", text[:LONGEST_TEXT].casefold())
    return [word for word in words if word not in ENGLISH_STOP_WORDS]

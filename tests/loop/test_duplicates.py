"""Which rows repeat another, and which only look like it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from loop.duplicates import ALIKE, LONG_ENOUGH, SHINGLE, Novelty, Row, Twin

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_train.jsonl"
VOCABULARY = ["".join(random.Random(n).choices("abcdefghijklmnopqrstuvwxyz", k=6)) for n in range(3000)]


def writing(seed: object, length: int = 200) -> list[str]:
    return random.Random(f"writing {seed}").choices(VOCABULARY, k=length)


def changed(words: list[str], places: range) -> str:
    return " ".join(f"other{n}" if n in places else word for n, word in enumerate(words))


def sift(novelty: Novelty, *texts: str) -> list[Twin | None]:
    return [twin for _, twin in novelty.sift(Row(str(n), text) for n, text in enumerate(texts))]


def of_generator(task: str, rows: int, **config: Any) -> list[str]:
    """Distinct problems, each with its answer."""
    import reasoning_gym

    drawn = reasoning_gym.create_dataset(task, seed=7, size=rows, **config)
    return list(dict.fromkeys(f"{row['question']}\n{row['answer']}" for row in drawn))


def test_the_same_words_are_the_same_row() -> None:
    novelty = Novelty()
    assert sift(novelty, "3 + 4 = 7", " 3 + 4\n= 7 ", "3 + 4 = 8") == [
        None,
        Twin(id="0", text="3 + 4 = 7", similarity=1.0),
        None,
    ]
    assert len(novelty) == 2


def test_the_threshold_is_of_the_true_similarity() -> None:
    """n words replaced in a row, from one end on, leave 196 - n of 196 + n shingles: 0.8 is passed at 21 and 22."""
    words = writing(0)
    for replaced, found in ((1, True), (21, True), (22, False), (60, False)):
        (twin,) = sift(Novelty([Row("held", " ".join(words))]), changed(words, range(replaced)))
        assert (twin is not None) == found, replaced
        if twin:
            assert (twin.id, twin.text) == ("held", " ".join(words))
            assert twin.similarity == pytest.approx((196 - replaced) / (196 + replaced))
            assert twin.similarity >= ALIKE


def test_planted_copies_are_found_and_nothing_else() -> None:
    luck = random.Random(1)
    rows = [writing(n) for n in range(1500)]
    copies = [changed(luck.choice(rows), range(at, at + 2)) for at in luck.choices(range(150), k=150)]
    novelty = Novelty()
    assert set(sift(novelty, *(" ".join(row) for row in rows))) == {None}
    twins = [twin for _, twin in novelty.sift(Row(f"copy {n}", copy) for n, copy in enumerate(copies))]
    assert sum(twin is not None for twin in twins) == len(copies)
    assert all(twin.similarity >= ALIKE for twin in twins if twin)
    assert len(novelty) == len(rows)


def test_what_was_trained_on_before_counts_too() -> None:
    """mechanisms §9.4: persistent, not per batch. A held row counts although it repeats another held one."""
    words = writing(3)
    first, second, third = (changed(words, range(n)) for n in (0, 12, 40))
    held = [Row("a", first), Row("b", changed(words, range(100, 118))), Row("c", second)]
    assert sift(Novelty([Row("a", first)]), second)[0] is not None
    novelty = Novelty(held)
    assert len(novelty) == 3
    for _ in range(2):
        rebuilt = Novelty(held)
        assert [rebuilt.twin(text) for text in (first, second, third)] == [
            novelty.twin(text) for text in (first, second, third)
        ]
    assert sift(novelty, " ".join(writing(4)), " ".join(writing(4)))[1] is not None, "and the batch itself"


def test_of_several_the_most_alike_is_shown() -> None:
    words = writing(5)
    near, nearer = changed(words, range(100, 115)), changed(words, range(100, 103))
    found = Novelty([Row("near", near), Row("nearer", nearer)]).twin(" ".join(words))
    assert found is not None and (found.id, found.text) == ("nearer", nearer)


def test_a_shared_format_makes_no_twins() -> None:
    """Distinct problems of a generator each, with answers; and one with long instructions, told what they are."""
    short = of_generator("chain_sum", 600, min_terms=2, max_terms=8, min_digits=1, max_digits=1)
    for texts in (short, of_generator("leg_counting", 300), of_generator("family_relationships", 300)):
        assert set(sift(Novelty(), *texts)) == {None}
    instructions = changed(writing(7, 150), range(0))
    long = [f"{instructions} How much is {n} + {n + 1}? {2 * n + 1}" for n in range(100)]
    assert sift(Novelty(), *long).count(None) == 1, "nobody said what the wording is"
    assert set(sift(Novelty(common=long[:5]), *long[5:])) == {None}


def test_short_rows_are_told_apart_by_their_words() -> None:
    """One shingle less than enough: two rows alike but for their last word are two; with one more they are one."""
    for length, is_twin in ((LONG_ENOUGH - 1, False), (LONG_ENOUGH, True)):
        words = writing(6, length + SHINGLE - 1)
        (twin,) = sift(Novelty([Row("held", " ".join(words))]), " ".join([*words[:-1], "otherwise"]))
        assert (twin is not None) == is_twin


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K is not beside the checkout")
def test_published_problems_are_no_twins_of_each_other() -> None:
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()[:2000]]
    twins = [twin for twin in sift(Novelty(), *(f"{row['question']}\n{row['answer']}" for row in rows)) if twin]
    assert twins == []

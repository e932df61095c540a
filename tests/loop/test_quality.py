"""Quality classifiers: frozen features, a head in closed form, pairs of words, and several scorers as one."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from launches import ROOT
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from loop.crew import Crew
from loop.embedding import embed, load_encoder, pool
from loop.errors import DamagedRunError, MissingError, StageError
from loop.presets import Architecture
from loop.quality import Buckets, Embedded, EmbedJob, bucket, ensemble, keeps, rounded, top_share
from loop.quality_heads import RIDGES, Linear, fit_head, fit_linear, load_head, load_linear
from loop.training.scratch import build_student

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
LESSON = "Water rises twice a day, since the moon pulls at the sea. Here is why: {}."
ADVERT = "BUY NOW!!! {} % off, click HERE >>> best deals $$$ ..."
TEXTS = tuple((LESSON, ADVERT)[i % 2].format(i * 37 % 101) for i in range(60))


def quiet(done: float, total: float, rate: str) -> None: ...


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    build_student(SHAPE, [("1 + 2", "1 + 2 = 3")], folder, seed=0)
    return folder


# Embeddings.


def test_embedding_is_a_job_of_the_crew(encoder: Path, tmp_path: Path) -> None:
    texts = (*TEXTS, "", "x" * 1000, "one two three")
    job = EmbedJob(str(encoder), texts, str(tmp_path / "deep" / "features.npy"))
    crew = Crew(tmp_path / "logs", lambda: None)
    crew.warm()
    told: Embedded = crew.run("loop.embedding:embed", job, quiet, "embed").result
    features = np.load(job.out, allow_pickle=False)
    assert features.shape == (told.rows, told.size) == (len(texts), 64) and features.dtype == np.float32
    assert told.tokens == sum(min(256, max(1, len(text))) for text in texts), "bytes, up to the model's positions"
    assert told.parameters > 1000 and np.isfinite(features).all()
    alone = EmbedJob(str(encoder), ("one two three",), str(tmp_path / "alone.npy"))
    embed(alone, quiet)
    assert np.allclose(np.load(alone.out)[0], features[-1], atol=1e-5), "padding and company change nothing"
    assert not np.allclose(features[0], features[1], atol=1e-3)
    with pytest.raises(MissingError, match="nowhere"):
        crew.run("loop.embedding:embed", EmbedJob(str(tmp_path / "nowhere"), ("a",), job.out), quiet, "embed")


def test_features_are_the_mean_of_the_last_hidden_states(encoder: Path) -> None:
    model, tokenizer = load_encoder(str(encoder))
    ids = tokenizer("one two", add_special_tokens=False)["input_ids"]
    states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    assert torch.allclose(pool(model, [ids, [*ids, *ids]])[0], states[0].mean(dim=0), atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("sentence_transformers") is not None, reason="the package is there")
def test_a_sentence_model_without_its_package_is_said_with_the_mend(tmp_path: Path) -> None:
    job = EmbedJob("some/encoder", ("a",), str(tmp_path / "out.npy"), kind="sentence")
    with pytest.raises(MissingError, match="pip install") as caught:
        embed(job, quiet)
    assert "\n" not in str(caught.value) and not Path(job.out).exists()


def test_a_sentence_model_is_read_where_its_package_is(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra `embeddings`")
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "lesson", "on", "tides"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(tmp_path)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=6, **shape)).save_pretrained(tmp_path)
    texts = ("a lesson on tides", "a", "a lesson on lesson on", "")
    told = embed(EmbedJob(str(tmp_path), texts, str(tmp_path / "f.npy"), kind="sentence", most_tokens=3), quiet)
    features = np.load(tmp_path / "f.npy")
    assert (told.rows, told.size, told.tokens) == (4, 32, 7) and features.dtype == np.float32
    assert np.allclose(features[0], features[2], atol=1e-5), "no more is read than the first three tokens"
    assert not np.allclose(features[0], features[1], atol=1e-3)


# The head.


def test_frozen_encoder_gradients_are_none(encoder: Path) -> None:
    """mechanisms §4, FineWeb-Edu CHECK: a head is trained through the encoder's features, and nothing reaches it."""
    model, tokenizer = load_encoder(str(encoder))
    features = pool(model, tokenizer(list(TEXTS[:8]), add_special_tokens=False)["input_ids"])
    head = torch.nn.Linear(64, 1)
    loss = (head(features).squeeze(1) - torch.arange(8.0) % 2 * 5).square().mean()
    loss.backward()
    assert head.weight.grad is not None and head.weight.grad.abs().sum() > 0
    assert {parameter.grad is None for parameter in model.parameters()} == {True}


def test_threshold_applied_on_rounded_score() -> None:
    """mechanisms §4, FineWeb-Edu CHECK. Confirmed with the published model card: int(round(max(0, min(score, 5)))),
    then at least 3; by Python's round, a half goes to the even number."""
    scores = [2.4, 2.5, 2.51, 2.6, 3.4, 3.5, -2.0, 9.0]
    assert [rounded(score) for score in scores] == [2, 2, 3, 3, 3, 4, 0, 5]
    assert keeps(scores) == [False, False, True, True, True, True, False, True]
    assert keeps([2.6], least=4) == [False] and keeps([9.0], least=4, top=3) == [False]


def noisy(rows: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of unlike scale, the last of which never changes, and scores of 0 to 5 that hang on two of them."""
    luck = np.random.default_rng(seed)
    x = luck.normal(size=(rows, size)) * np.geomspace(0.01, 100, size) + 3
    x[:, -1] = 7
    y = 2.5 + x[:, 0] * 80 - 240 + (x[:, 1] - 3) * 10 + luck.normal(size=rows) * 0.4
    return x, np.clip(np.round(y), 0, 5)


def test_the_closed_form_is_where_gradient_descent_ends() -> None:
    x, y = noisy(200, 12, seed=0)
    head = fit_head(x, list(y))
    assert head.weights[-1] == 0
    spread = x.std(axis=0)
    z = torch.tensor((x - x.mean(axis=0)) / np.where(spread < 1e-9, np.inf, spread))
    weights, bias = torch.zeros(12, dtype=torch.float64, requires_grad=True), torch.zeros(1, dtype=torch.float64)
    bias.requires_grad_()
    descent = torch.optim.LBFGS([weights, bias], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        descent.zero_grad()
        loss = (z @ weights + bias - torch.tensor(y)).square().mean() + head.ridge * weights.square().sum()
        loss.backward()
        return loss

    descent.step(closure)
    assert np.allclose(head.score(x), (z @ weights + bias).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(("rows", "size"), [(40, 5), (25, 60)])
def test_error_and_f1_are_those_of_rows_left_out(rows: int, size: int) -> None:
    x, y = noisy(rows, size, seed=1)
    head = fit_head(x, list(y))
    left_out = []
    for i in range(rows):
        others = np.arange(rows) != i
        z, mean, spread = x, x.mean(axis=0), x.std(axis=0)
        z = (x - mean) / np.where(spread < 1e-9, np.inf, spread)
        a = np.column_stack([z[others], np.ones(rows - 1)])
        penalty = np.diag([*[head.ridge * rows] * size, 0])
        left_out.append(float(np.linalg.solve(a.T @ a + penalty, a.T @ y[others]) @ [*z[i], 1]))
    assert head.error == pytest.approx(np.sqrt(np.mean((np.array(left_out) - y) ** 2)), rel=1e-6)
    wanted, said = keeps(list(y)), keeps(left_out)
    both = sum(w and s for w, s in zip(wanted, said, strict=True))
    assert head.f1 == pytest.approx(2 * both / (sum(wanted) + sum(said)))
    assert head.ridge in RIDGES


def test_a_head_on_hidden_states_of_a_student_tells_lessons_from_adverts(encoder: Path, tmp_path: Path) -> None:
    job = EmbedJob(str(encoder), TEXTS, str(tmp_path / "features.npy"))
    embed(job, quiet)
    features, scores = np.load(job.out), [5 if text.startswith("Water") else 0 for text in TEXTS]
    head = fit_head(features[:40], scores[:40], encoder="scratch")
    assert keeps(head.score(features[40:])) == [score == 5 for score in scores[40:]]
    assert head.f1 == 1


@pytest.mark.parametrize(
    ("features", "scores"),
    [
        ([[1.0], [2.0]], [3, 3]),
        ([[1.0]], [3]),
        ([[1.0], [2.0]], [1, 2, 3]),
        ([[1.0], [float("nan")]], [1, 2]),
        ([], []),
    ],
)
def test_where_there_is_nothing_to_learn_no_head_is_made(features: list[list[float]], scores: list[int]) -> None:
    with pytest.raises(StageError, match="annotate more"):
        fit_head(features, scores)


# Words and pairs of words.


def test_threshold_comes_from_a_percentile_not_from_a_half() -> None:
    """mechanisms §4, DCLM CHECK: where good texts are rare all scores lie below 0.5, and the best tenth is kept."""
    good, bad = [LESSON.format(i) for i in range(3)], [ADVERT.format(i) for i in range(97)]
    linear = fit_linear(good, bad)
    corpus = [*(LESSON.format(1000 + i) for i in range(10)), *(ADVERT.format(1000 + i) for i in range(90))]
    scores = linear.score(corpus)
    assert 0 < max(scores) < 0.5
    threshold = top_share(scores, 0.1)
    assert [score >= threshold for score in scores] == [True] * 10 + [False] * 90
    assert top_share([0.1, 0.2, 0.3, 0.4], 1) == 0.1 and top_share([0.9, 0.99], 0.5) == 0.99
    assert top_share([i / 10 for i in range(10)], 0.3) == 0.7, "three of ten, not four"
    for wrong in ([], [float("nan")]):
        with pytest.raises(ValueError):
            top_share(wrong, 0.1)


def test_pairs_of_words_count_and_not_words_alone() -> None:
    linear = fit_linear(["not good", "bad"] * 10, ["good", "not bad"] * 10)
    assert linear.score(["not good"])[0] > 0.5 > linear.score(["not bad"])[0]


def test_real_solutions_are_told_from_real_problems() -> None:
    path = ROOT.parent / "shared" / "data" / "gsm8k_model_solutions.jsonl"
    if not path.is_file():
        pytest.skip("the data of the project are not beside the checkout")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:200]
    problems, solutions = [row["question"] for row in rows], [row["175b_finetuning"]["solution"] for row in rows]
    linear = fit_linear(solutions[:150], problems[:150])
    assert min(linear.score(solutions[150:])) > max(linear.score(problems[150:]))


def test_no_positives_or_no_negatives_make_no_classifier() -> None:
    for positives, negatives in (([], ["a"]), (["a"], [])):
        with pytest.raises(StageError, match="both"):
            fit_linear(positives, negatives)


# Folders.


def test_heads_come_back_from_their_folders_and_know_what_they_were_made_from(tmp_path: Path) -> None:
    x, y = noisy(30, 6, seed=2)
    head, linear = fit_head(x, list(y), encoder="a"), fit_linear(TEXTS[::2], TEXTS[1::2])
    manifests = [head.save(tmp_path / "head"), linear.save(tmp_path / "linear")]
    again, same = load_head(tmp_path / "head"), load_linear(tmp_path / "linear")
    assert again.score(x) == head.score(x) and same.score(TEXTS) == linear.score(TEXTS)
    assert (again.made_from, again.error, again.f1) == (head.made_from, head.error, head.f1)
    assert [head.save(tmp_path / "head"), linear.save(tmp_path / "linear")] == manifests, (
        "saved again, the same bytes"
    )
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["head", "linear", *["head.json", "manifest.json", "weights.npz"] * 2]
    )
    others = [
        fit_head(x, list(y), encoder="b"),
        fit_head(x, [*y[:-1], 5 - y[-1]], encoder="a"),
        fit_head(-x, list(y), encoder="a"),
    ]
    digests = [head.made_from, *(other.made_from for other in others)]
    assert len({*digests}) == 4 and fit_head(x, list(y), encoder="a").made_from == head.made_from
    assert isinstance(same, Linear) and same.made_from == fit_linear(TEXTS[::2], TEXTS[1::2]).made_from
    assert fit_linear(TEXTS[1::2], TEXTS[::2]).made_from != linear.made_from
    for wrong in (tmp_path / "linear", tmp_path / "nothing"):
        with pytest.raises(DamagedRunError, match="make it again"):
            load_head(wrong)
    (tmp_path / "head" / "weights.npz").write_bytes(b"PK torn")
    with pytest.raises(DamagedRunError):
        load_head(tmp_path / "head")


# Several scorers as one.


def test_item_high_on_one_scorer_only_survives_the_max() -> None:
    """mechanisms §4, Nemotron-CC CHECK. The bucket rule, recalled there, was confirmed with NVIDIA's published recipe
    (NVIDIA-NeMo/Nemotron, data_curation/nemotron-cc): thresholds at the 5th, 10th ... 95th percentile of each
    scorer's scores by the inverted distribution function, weighted by bytes; `digitize`, so a score that reaches a
    threshold is above it: 0 to 19; then the maximum. Count, weights and ties are settings here."""
    rows = 200
    first = [float(i) for i in range(rows)]
    second = [float(i * 7919 % rows) for i in range(rows)]
    first[5], second[5] = -1.0, 1e6
    best = ensemble({"a": first, "b": second})
    assert best[5] == 19 and bucket(first)[5] == 0
    assert best == [max(pair) for pair in zip(bucket(first), bucket(second), strict=True)]
    assert {*best} <= {*range(20)} and ensemble({"a": first, "b": [s * 1e-9 for s in second]}) == best, "ranks alone"
    assert sum(b == 19 for b in ensemble({"a": first, "b": second})) > rows / 20, "the union is wider than either"


def recipe(scores: list[float], weights: list[int]) -> list[int]:
    """The rule as the recipe states it, with numpy: thresholds first, then where each score lies among them."""
    order = np.argsort(scores)
    reached = np.cumsum(np.array(weights)[order]) / sum(weights)
    at = np.searchsorted(reached, np.arange(5, 100, 5) / 100 - 1e-12)
    return [int(b) for b in np.digitize(scores, np.array(scores)[order][at])]


def test_buckets_are_those_of_the_recipe() -> None:
    luck = np.random.default_rng(3)
    for rows in (1, 7, 20, 333):
        scores = [float(s) for s in luck.integers(0, max(2, rows // 2), rows)]
        weights = [int(w) for w in luck.integers(1, 1000, rows)]
        assert bucket(scores, weights) == recipe(scores, weights)
        assert bucket(scores) == recipe(scores, [1] * rows)


def test_where_ties_go_and_how_many_buckets_there_are_are_settings() -> None:
    scores = [0.0] * 60 + [float(i) for i in range(1, 41)]
    assert bucket(scores)[0] == 12 and bucket(scores, buckets=Buckets(ties="down"))[0] == 0
    even = Counter(bucket([float(i) for i in range(100)], buckets=Buckets(ties="down")))
    assert even == dict.fromkeys(range(20), 5)
    assert {*bucket([float(i) for i in range(100)], buckets=Buckets(count=4))} == {0, 1, 2, 3}
    heavy = bucket([1.0, 2.0, 3.0], weights=[98, 1, 1])
    assert heavy == [19, 19, 19] and bucket([1.0, 2.0, 3.0], weights=[1, 1, 98]) == [0, 0, 19]


@pytest.mark.parametrize(
    ("scores", "weights"),
    [
        ({"a": [1.0, 2.0], "b": [1.0]}, None),
        ({"a": [1.0, 2.0]}, [1]),
        ({"a": [1.0, 2.0]}, [1, 0]),
        ({"a": [1.0, 2.0], "b": [3.0, 3.0]}, None),
        ({"a": [1.0, float("nan")]}, None),
        ({}, None),
    ],
)
def test_scorers_that_cannot_be_joined_are_refused(scores: dict[str, list[float]], weights: list[int] | None) -> None:
    with pytest.raises(ValueError):
        ensemble(scores, weights)

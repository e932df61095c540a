"""Training: the ways to train the student that a plan may choose among, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from agents.strategies import Reply

DIVERGED = "training diverged"
"""How the reason begins of a round that failed by its training."""


class Training(Reply):
    """What all ways to train have."""

    told: ClassVar[str]
    """What it is and what it costs, for an orchestrator that is a model."""
    start: Literal["base", "best"] = "best"
    """base is the student of round 0."""
    epochs: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Passes over what is trained on: rows, pairs or problems."""
    rate: ClassVar[float] = 1.0
    """The rate that the method has for a student, in that of supervised training."""
    compares: ClassVar[bool] = False
    """Whether it needs several samples of a problem."""
    learning_rate_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Times the rate that the method has for this student."""

    @model_serializer(mode="wrap")
    def _as_chosen(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was left open: a plan of before a setting came reads and is written alike."""
        return {name: value for name, value in plain(self).items() if value is not None}


class SFT(Training):
    """Supervised fine-tuning on the mix. What is None is as the student's preset has it."""

    told: ClassVar[str] = (
        "the next-token loss on the responses of the mix: demonstrations, earlier rows and new ones. Where rows are "
        "few, more epochs with strong regularisation, all of it off unless written: weight_decay (0 to 2; 0.1 is "
        "usual, 1.3 strong), dropout (0 to 0.5; 0.1 is usual), hold_out (0.02 to 0.3: that share of the prompts is "
        "not trained on in this round but looked at after each epoch; training stops after two looks without a lower "
        "loss, and the weights of the best look stay; takes 2 epochs or more). packing (true or false): rows share "
        "sequences without seeing each other; saves padding where their lengths differ much, costs time where all "
        "are short"
    )
    method: Literal["sft"] = "sft"
    packing: bool | None = None
    weight_decay: Annotated[float, Field(ge=0, le=2)] | None = None
    """Slowrun: 1.3 to 1.6, some 16 times the usual, is what lets many epochs on few rows pay (mechanisms.md §5)."""
    dropout: Annotated[float, Field(ge=0, le=0.5)] | None = None
    hold_out: Annotated[float, Field(ge=0.02, le=0.3)] | None = None


class DPO(Training):
    """Direct preference optimisation (arXiv 2305.18290) of right against wrong attempts at the same problem."""

    told: ClassVar[str] = (
        "DPO: raises right attempts above wrong ones at the same problem, of all rounds. It needs problems that the "
        "student solves now and then, with several samples each (an allotment's samples of 2 or more), and it does "
        "not train on the mix. Costs both attempts of each pair for every epoch, and one more forward pass; settings "
        "beta (0.01 to 1: how close to the student as it was), sft (0 to 10: weight of the next-token loss on the "
        "right attempts), pairs_per_problem (1 to 16, the hardest first)"
    )
    rate: ClassVar[float] = 0.1
    """Of TRL's defaults, 1e-6 and 2e-5, it would be 0.05; a scratch student that solved 0.43 rose to 0.53 at 0.3."""
    compares: ClassVar[bool] = True
    method: Literal["dpo"] = "dpo"
    beta: Annotated[float, Field(ge=0.01, le=1)] = 0.1
    """The paper's own."""
    sft: Annotated[float, Field(ge=0, le=10)] = 2.0
    """Weight of the next-token loss on the chosen ones, 1 in iterative RPO (arXiv 2404.19733). With 0, where right
    and wrong share most of their tokens, both become less likely (arXiv 2402.13228). Scratch students' scores, by
    weight: 0.78 fell to 0.64 at 0 and rose to 0.80 at 1; 0.43 stayed at 1 and rose to 0.53 at 2."""
    pairs_per_problem: Annotated[int, Field(ge=1, le=16)] = 4


class GRPO(Training):
    """Reinforcement: the student answers each problem several times, and what beats its group's mean is made likelier
    (GRPO, arXiv 2402.03300). The loss is a mean over tokens (DAPO, arXiv 2503.14476): long answers count as they are
    long.
    """

    told: ClassVar[str] = (
        "reinforcement (GRPO): the student answers problems of this round several times; what verifiers and believed "
        "critics pass is made likelier, the rest less likely, and no row is trained on. It needs problems that are "
        "solved sometimes: a group that agrees teaches nothing. costs: problems x epochs x group samples more, each "
        "trained on once an iteration. settings: problems 1 to 4096, epochs, group 2 to 64, problems_per_step 1 to "
        "512, iterations 1 to 8, epsilon and epsilon_high (clipping), beta (KL), temperature, scale, mask_truncated"
    )
    rate: ClassVar[float] = 0.05
    """1e-6 (arXiv 2503.14476, 2402.03300) to 2e-5 for whole weights."""
    method: Literal["grpo"] = "grpo"
    problems: Annotated[int, Field(ge=1, le=4096)] = 256
    """Of the round's samples, at the most: those whose pass rate is near ½ before others."""
    group: Annotated[int, Field(ge=2, le=64)] = 8
    """Answers to each problem (64 in arXiv 2402.03300, 16 in arXiv 2503.14476; 8 is TRL's)."""
    problems_per_step: Annotated[int, Field(ge=1, le=512)] = 16
    """Problems whose groups make one step."""
    iterations: Annotated[int, Field(ge=1, le=8)] = 1
    """Steps on the same answers (μ in arXiv 2402.03300, which takes 1). With 1 all ratios are 1: none is clipped."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far a token's probability may fall before it is clipped."""
    epsilon_high: Annotated[float, Field(gt=0, le=5)] = 0.28
    """How far it may rise; more than it may fall, so that rare tokens can become likely (arXiv 2503.14476)."""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of the KL divergence from where training started (0.04 in arXiv 2402.03300). 0 as in arXiv 2503.14476
    and 2503.20783: a verifier is not gamed as a reward model is, and there is no second model to run."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """1 samples from the very distribution that is trained."""
    scale: bool = False
    """Whether advantages are divided by their group's standard deviation, as in arXiv 2402.03300. Not so in arXiv
    2503.20783 (Dr. GRPO): it weighs problems that are nearly always or never solved more than those in between."""
    mask_truncated: bool = False
    """Whether a cut-off answer is left out of the loss, as in arXiv 2503.14476, whose limit cuts sound reasoning.
    Here the limit is half as long again as the longest demonstration: what is cut off rambles, and earns 0."""


class Distillation(Training):
    """Students in a row, each taught by the one before it alone (a chain); or the student taught by another model.

    Per batch, with α `alpha` and T `temperature`: (1 − α)·CE(student, y) + α·T²·KL(softmax(teacher/T) ‖
    softmax(student/T)), a mean per response token; the first of a chain learns by CE alone (Slowrun's chain
    distillation). Each link of a chain begins with fresh weights and a seed of its own; a pretrained student has no
    fresh ones, so its links begin from the base as it was before the loop, each with its own order of the rows. A
    chain thus holds nothing of earlier rounds but their rows, which stand in the mix: `start` is ignored.
    """

    told: ClassVar[str] = (
        "links students in a row, each from fresh weights on the whole mix for epochs passes and taught by the one "
        "before it; then one to serve, taught by the ensemble of them (serve: ensemble; last takes the last link as "
        "it is). Trains links + 1 times as many tokens a pass as sft, from nothing: for a mix that is small and "
        "learnt by heart. alpha 0 to 1 is the teacher's share of a link's loss, serve_alpha the ensemble's of the "
        "served student's, temperature 0.1 to 10, weight_decay and dropout are strong on purpose, start is ignored. "
        "teacher: a name of distil_from instead: the student itself is trained on from start, once, towards that "
        "model's distribution; on_policy (true: on responses that the student writes itself, by the reverse "
        "divergence; alpha then counts for nothing)"
    )
    method: Literal["distill"] = "distill"
    teacher: Annotated[str, Field(max_length=200)] = ""
    """A teacher of the cast that runs on this machine with the student's tokenizer; "" is the chain."""
    links: Annotated[int, Field(ge=2, le=20)] = 4
    """Gains level off after about four."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    serve_alpha: Annotated[float, Field(ge=0, le=1)] = 1.0
    """That of the student that is served. 1 is what the ensemble says alone: the rows themselves, which it knows by
    heart, have been learnt from by every link."""
    temperature: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1.6
    """Of the links and the served student: 16 times the usual 0.1, as in Slowrun's records (1.3 to 1.6)."""
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Of what attention and feed-forward blocks of a link add."""
    serve: Literal["ensemble", "last"] = "ensemble"
    """What is served: one more student taught by the ensemble, or the last link. Of a student taught by the last
    link alone, that is a chain of one link more."""
    on_policy: bool = False
    """Only with a teacher."""

    @model_validator(mode="after")
    def _fits_together(self) -> Distillation:
        if self.on_policy and not self.teacher:
            raise ValueError("on_policy is for a teacher, and none is named; name one, or leave it out")
        return self


def _method(value: Any) -> Any:
    """A choice that names no method is supervised."""
    return value.get("method", "sft") if isinstance(value, dict) else getattr(value, "method", None)


TrainingChoice = Annotated[
    Annotated[SFT, Tag("sft")]
    | Annotated[DPO, Tag("dpo")]
    | Annotated[GRPO, Tag("grpo")]
    | Annotated[Distillation, Tag("distill")],
    Discriminator(_method),
]
"""How the student is trained this round, inside what the objective allows."""

METHODS: dict[str, type[SFT | DPO | GRPO | Distillation]] = {
    "sft": SFT, "dpo": DPO, "grpo": GRPO, "distill": Distillation
}  # fmt: skip
"""The settings of each method, by its name; the usual one first."""

"""Reinforcement: TRL's GRPOTrainer, full weights or LoRA, rewarded by verifiers and critics (arXiv 2402.03300).

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from agents.engines import Completion
from agents.student import student_prompt
from loop.crew import Ask, Report
from loop.grading import Grader
from loop.jobs import STEPS, Diverged, DrillJob
from loop.reinforcement import Count
from loop.trained import Trained
from loop.training.arguments import in_bfloat16
from loop.training.student import adapter_of, load_trainable, save
from loop.training.watch import Watch

VLLM_MEMORY = 0.3
"""Share of the GPU's memory that vllm gets beside the trainer: TRL's own."""


def grpo(job: DrillJob, report: Report, ask: Ask | None = None) -> Trained:
    """Train on from `job.train.start` by reward and write the checkpoint to `job.train.out`.

    Args: ask: the critics, where the job names any; see `Grader`.

    Raises: Diverged when the loss or the student's probabilities are no numbers any more, or it has unlearnt it all.
    """
    model, tokenizer = load_trainable(job.train)
    prompts = [problem.prompt for problem in job.problems]
    longest = max(len(ids) for ids in prompt_ids(tokenizer, prompts)) + job.max_new_tokens
    settings = arguments(job, min(longest, getattr(model.config, "max_position_embeddings", longest)))
    grader = Grader(job.judge, Count(job.choice.group, len(job.problems), job.critics, job.unheard), ask)
    watch = _Reinforced(job, grader, settings.max_steps, report)
    trainer = _Reinforcing(
        model=model,
        reward_funcs=_graded(job, grader, tokenizer, model),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": prompts, "problem": range(len(prompts))}),
        processing_class=tokenizer,
        peft_config=adapter_of(job.train, model),
        callbacks=[watch],
    )
    trainer.watch = watch
    try:
        watch.train(trainer)
    except RuntimeError as error:
        if "probability tensor" not in str(error):  # torch.multinomial's word for it
            raise
        raise Diverged(
            f"the student's probabilities are no numbers after step {watch.steps}; lower the learning rate"
        ) from error
    if "ref" in getattr(trainer.model, "peft_config", {}):
        trainer.model.delete_adapter("ref")  # TRL's copy of the adapter that training went on from
    save(trainer.model, tokenizer, Path(job.train.out))
    return watch.trained(trainer.model)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> list[list[int]]:
    """What the student reads of each problem, as in supervised training and under every engine."""
    texts = [student_prompt(tokenizer, prompt) for prompt in prompts]
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return found


def arguments(job: DrillJob, positions: int) -> GRPOConfig:
    """TRL's settings: each step's groups are answered at once, and trained on in parts that fit.

    Args: positions: tokens of the longest prompt and its answer, as far as the model reads.
    """
    on_gpu = torch.cuda.is_available()
    settings, choice = job.train.settings, job.choice
    at_once = min(choice.problems_per_step, len(job.problems))
    rows = at_once * choice.group
    part = max(
        size for size in range(1, min(rows, job.train.rows_at_once or settings.rows_per_step) + 1) if rows % size == 0
    )
    batches = max(1, math.ceil(job.train.epochs * len(job.problems) / at_once))
    steps = batches * choice.iterations
    return GRPOConfig(
        output_dir=job.train.out + STEPS,
        max_steps=steps,
        per_device_train_batch_size=part,
        gradient_accumulation_steps=rows // part,
        num_generations=choice.group,
        num_iterations=choice.iterations,
        max_completion_length=job.max_new_tokens,
        temperature=choice.temperature,
        epsilon=choice.epsilon,
        epsilon_high=choice.epsilon_high,
        beta=choice.beta,
        loss_type="dapo",
        scale_rewards="group" if choice.scale else "none",
        mask_truncated_completions=choice.mask_truncated,
        use_vllm=job.vllm and on_gpu,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=VLLM_MEMORY,
        vllm_max_model_length=positions,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        bf16=in_bfloat16(settings),
        use_cpu=not on_gpu,
        gradient_checkpointing=job.train.recompute,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.train.seed,
    )


def _graded(job: DrillJob, grader: Grader, tokenizer: PreTrainedTokenizerBase, model: Any) -> Any:
    """The verifiers as TRL's reward function."""
    listed = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    sizes = [len(ids) for ids in prompt_ids(tokenizer, [problem.prompt for problem in job.problems])]

    def verifiers(problem: list[int], completion_ids: list[list[int]], **_: Any) -> list[float]:
        answers = []
        for place, (number, ids) in enumerate(zip(problem, completion_ids, strict=True)):
            ended = bool(ids) and ids[-1] in ends
            text = tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
            answers.append(Completion(f"{place:x}", text, "stop" if ended else "length", sizes[number], len(ids)))
        return grader.rewards([job.problems[number] for number in problem], answers)

    return verifiers


class _Reinforcing(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, which reads problems as every engine does, and tells its watch what it trains on."""

    watch: _Reinforced

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """TRL would tokenise a text with special tokens (1.16.0): a second beginning, where a template has one."""
        return prompt_ids(self.processing_class, prompts), None, {}

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """A part of a step: its tokens are counted, those of a masked answer too, since they cost as much."""
        answered = inputs["completion_mask"].sum(dim=1)
        answered = torch.where(answered > 0, answered, inputs["completion_mask"].shape[1])
        self.watch.trained_tokens += int(inputs["prompt_mask"].sum() + answered.sum())
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class _Reinforced(Watch):
    """Counts what was sampled beside what was trained on, and keeps to the limits with both."""

    def __init__(self, job: DrillJob, grader: Grader, steps: int, report: Report) -> None:
        super().__init__(replace(job.train, keep_every=None), steps, report, whole=job)  # its answers are drawn anew
        self._choice, self._grader = job.choice, grader
        self._rereads = job.choice.iterations > 1 or (job.vllm and torch.cuda.is_available())
        self.trained_tokens = 0
        self._told: dict[str, float] = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """As every watch; but TRL's own count of tokens is of what was sampled."""
        super().on_step_end(args, state, control, **kwargs)
        self.tokens = self.trained_tokens
        self.stopped = self._job.limits.spent_by(self.tokens + self._grader.tokens, self._began)
        if self.stopped:
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """As every watch, with what only this training has."""
        logs = logs or {}
        if "reward" in logs:  # only where new answers were drawn for the step
            self._told = {
                "sampled": self._grader.tokens,
                "reward": round(logs["reward"], 4),
                "agreeing": round(logs["frac_reward_zero_std"], 4),
                "truncated": round(logs["completions/clipped_ratio"], 4),
            }
        if "loss" in logs:
            self._told |= {"clipped": round(logs["clip_ratio/region_mean"], 4), "entropy": round(logs["entropy"], 4)}
            self._grader.count.add_step(logs["clip_ratio/region_mean"])
        super().on_log(args, state, control, logs, **kwargs)
        if self._grader.count.is_lost:
            raise Diverged(f"no answer is right any more at step {self.steps}; lower the learning rate")

    def log(self, line: dict[str, float]) -> None:
        """Add a line to the job's log, with the rewards of its step."""
        super().log(line | self._told)

    def trained(self, model: Any) -> Trained:
        """The record of what was done."""
        sampled = self._grader.tokens
        passes = (self._choice.beta > 0) + self._rereads
        found = super().trained(model)
        return replace(
            found,
            sampled_tokens=sampled,
            read_flops=2.0 * found.parameters * passes * sampled,
            reinforced=self._grader.count.told,
        )

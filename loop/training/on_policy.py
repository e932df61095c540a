"""On-policy distillation: TRL's DistillationTrainer, on responses that the student writes itself. It brings torch."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import DistillationConfig, DistillationTrainer

from agents.student import student_prompt
from loop.jobs import DistillJob
from loop.training.sft import arguments
from loop.training.student import adapter_of

TAKEN = (
    "output_dir", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "adam_beta2", "bf16", "use_cpu",
    "gradient_checkpointing", "dataloader_pin_memory", "logging_steps", "logging_nan_inf_filter",
    "save_strategy", "report_to", "disable_tqdm", "seed",
)  # fmt: skip
"""What it has in common with supervised training."""


class OnPolicy(DistillationTrainer):  # type: ignore[misc]
    """TRL's trainer, which reads prompts as they are sampled elsewhere: their text alone, no token put before it.

    Its loss is the reverse divergence KL(student ‖ teacher) at each token that the student wrote, without
    cross-entropy (arXiv 2306.13649).
    """

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.processing_class(prompts, add_special_tokens=False)["input_ids"], None, {}


def on_policy_trainer(
    job: DistillJob,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: PreTrainedModel,
    steps: int,
    watch: TrainerCallback,
) -> OnPolicy:
    """A trainer on the prompts of the job's rows, each as often as its copies say."""
    common = arguments(job.train, max_steps=steps)
    prompts = [student_prompt(tokenizer, prompt) for prompt, _, copies in job.train.rows for _ in range(copies)]
    return OnPolicy(
        model=model,
        teacher_model=teacher.to("cuda" if torch.cuda.is_available() else "cpu"),
        args=DistillationConfig(
            **{name: getattr(common, name) for name in TAKEN},
            temperature=job.temperature,
            max_completion_length=job.max_new_tokens,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        peft_config=adapter_of(job.train, model),
        callbacks=[watch],
    )

"""Plain offline vllm, as its user would write it: LLM and generate. Runs under LOOP_VLLM_PYTHON."""

import json
import sys
import time
from pathlib import Path

from vllm import LLM, SamplingParams


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = LLM(**job["settings"])
    began = time.monotonic()
    sampling = [
        SamplingParams(temperature=job["temperature"], max_tokens=job["max_tokens"], seed=seed)
        for seed in range(len(job["prompts"]))
    ]
    outputs = model.generate([prompt + "\n" for prompt in job["prompts"]], sampling, use_tqdm=False)
    seconds = time.monotonic() - began
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    Path(sys.argv[2]).write_text(json.dumps({"rows": len(outputs), "tokens": tokens, "seconds": seconds}))


if __name__ == "__main__":
    main()

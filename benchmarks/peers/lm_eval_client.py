"""lm-eval's local-completions, called as its evaluator calls it."""

import json
import sys
import time
from pathlib import Path

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = LocalCompletionsAPI(
        model=job["model"],
        base_url=f"{job['address']}/completions",
        tokenizer_backend=None,
        tokenized_requests=False,
        num_concurrent=job["concurrent"],
        batch_size=job["batch"],
        max_length=1024,
    )
    options = {"until": [], "max_gen_toks": job["max_tokens"], "temperature": job["temperature"], "do_sample": True}
    requests = [
        Instance("generate_until", {}, (prompt + "\n", options), number)
        for number, prompt in enumerate(job["prompts"])
    ]
    began = time.monotonic()
    texts = model.generate_until(requests, disable_tqdm=True)
    seconds = time.monotonic() - began
    told = {"rows": sum(text is not None for text in texts), "seconds": seconds}
    Path(sys.argv[2]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()

"""Hub: an export pushed to a hub of models and data sets, private unless told otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loop.errors import MissingError, ObjectiveError

KINDS: tuple[Literal["model", "dataset"], ...] = ("model", "dataset")
"""Both get the same id: a hub keeps models and data sets apart."""
VARIABLE = "HF_TOKEN"


@dataclass(frozen=True)
class Hub:
    """Where an export goes. The token comes from the environment, and is in no message and no log."""

    repository: str
    """Of model and data set alike, such as name/student."""
    public: bool = False

    def check(self) -> None:
        """Whether it can be pushed to, as far as can be told before there is anything to push.

        Raises: ObjectiveError for a name that is none, and for a repository that others can read though nobody said
        that they may; MissingError without a token, or when the hub refuses.
        """
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

        if not _token():
            raise MissingError(
                f"--push: {VARIABLE} is not set; put a token there that may write to {self.repository}"
            )
        for kind in KINDS:
            with _refusals(self.repository):
                try:
                    private = _api().repo_info(self.repository, repo_type=kind).private
                except RepositoryNotFoundError:
                    continue
                except HFValidationError as error:
                    words = "is no id of a hub; write one such as name/student"
                    raise ObjectiveError(f"--push: {self.repository!r} {words}") from error
            if not private and not self.public:
                raise ObjectiveError(
                    f"--push: the {kind} {self.repository} is there and public; add --public, or name another"
                )

    def push(self, folder: Path) -> str:
        """Push model and data set, each in one commit; where they are then.

        Raises: MissingError when the hub refuses; the folder stays.
        """
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        urls = []
        with _refusals(f"{self.repository} (the export in {folder} is whole: hf upload {self.repository} ...)"):
            for kind in KINDS:
                if not (folder / kind).is_dir():
                    continue
                url = _api().create_repo(self.repository, repo_type=kind, private=not self.public, exist_ok=True)
                _api().upload_folder(
                    repo_id=self.repository, folder_path=folder / kind, repo_type=kind,
                    commit_message="Exported by Loop",
                )  # fmt: skip
                urls.append(str(url))
        return f"pushed, {'public' if self.public else 'private'}: {', '.join(urls)}"


def _token() -> str:
    return os.environ.get(VARIABLE, "").strip()


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=_token())


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What the hub says against it, in one line, and never the token."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, OSError, ValueError) as error:
        words = " ".join(str(error).split())[:300].replace(_token(), "...")
        raise MissingError(f"--push: {what}: {words}") from error

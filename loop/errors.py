"""What can go wrong, and the exit code each kind ends the command with.

LoopError
├── ObjectiveError     2    the objective or a flag is wrong: the person mends it
├── MissingError       3    a model, an endpoint, a GPU or disk space is not there
├── StageError         4    a stage failed for good
└── DamagedRunError    5    the run directory cannot be trusted
    └── DamagedCheckpointError  5    nor one of its checkpoints, where no earlier one can take its place

Every message is one line that names what is wrong and the mend.
"""


class LoopError(Exception):
    """Base of everything that is shown to a person as one line."""

    exit_code = 1


class ObjectiveError(LoopError):
    """The objective, a file it names, or a flag is wrong."""

    exit_code = 2


class MissingError(LoopError):
    """Something the run needs is not on this machine."""

    exit_code = 3


class StageError(LoopError):
    """A stage of a round failed; the runner decides whether it is tried again."""

    exit_code = 4
    again = True
    """Whether the same may go better when it is tried once more."""


class NothingToLearn(StageError):
    """A round has brought nothing that its plan's method could learn from, and would bring nothing again."""

    again = False


class OutOfMemory(StageError):
    """A child ran out of memory."""


class DamagedRunError(LoopError):
    """A file of the run is missing or differs from what the ledger vouches for."""

    exit_code = 5


class DamagedCheckpointError(DamagedRunError):
    """A file of a checkpoint is missing or differs from its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from loop.check import check_objective
from loop.errors import MissingError, ObjectiveError
from loop.new import DEMONSTRATIONS, new_objective, objective_presets
from loop.objective import read_demonstrations, read_objective

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("preset", objective_presets())
def test_a_preset_is_ready_to_run(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = new_objective(Path("mine"), preset)
    assert said == "mine is ready: mend mine/OBJECTIVE.md to your liking, then: cd mine && loop run"
    objective = read_objective(Path("mine") / "OBJECTIVE.md")
    assert sorted(p.name for p in Path("mine").iterdir()) == ["OBJECTIVE.md", "demonstrations.jsonl"]
    assert len(read_demonstrations(objective)) > 100
    lines = check_objective(objective.path)
    assert any(text.startswith("demonstrations: ") and "working is checked" in text for text in lines)


def test_the_default_preset_is_the_default_objective() -> None:
    """The two must not part: what `loop run` does in the checkout is what a new folder starts from."""
    text = (ROOT / "OBJECTIVE.md").read_text()
    (named,) = [line for line in text.split("\n") if line.startswith("demonstrations: ")]
    assert ROOT / named.removeprefix("demonstrations: ") == DEMONSTRATIONS["default"]
    preset = (ROOT / "templates" / "objectives" / "default.md").read_text()
    assert preset == text.replace(named, "demonstrations: demonstrations.jsonl")


def test_every_preset_of_demonstrations_is_one() -> None:
    assert set(DEMONSTRATIONS) <= set(objective_presets()) and "default" in objective_presets()


def test_an_empty_folder_will_do_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    new_objective(tmp_path / "empty" / "deeper", "default")
    new_objective(tmp_path / "not" / "yet" / "there", "default")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for taken in ("empty", "empty/deeper", "empty/deeper/OBJECTIVE.md"):
        with pytest.raises(ObjectiveError, match=r"is there and not an empty folder; name a new one$"):
            new_objective(tmp_path / taken, "default")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("preset", ["chian_sum", "", "../students/tiny", "default.md"])
def test_an_unknown_preset_names_the_known_ones(preset: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match=r"^--preset: .* is no preset; write one of .*default") as caught:
        new_objective(tmp_path / "mine", preset)
    assert caught.value.exit_code == 2 and not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingError, match=r"file/mine: Not a directory; name another folder$"):
        new_objective(tmp_path / "file" / "mine", "default")

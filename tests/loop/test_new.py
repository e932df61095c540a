from __future__ import annotations

from pathlib import Path

import pytest
from fault_server import FaultServer

from loop.check import check_objective
from loop.errors import MissingError, ObjectiveError
from loop.new import EXAMPLES, ROWS, new_objective, objective_presets
from loop.objective import read_demonstrations, read_objective, read_problem_rows
from loop.tasks import Tasks
from loop.verifiers import check_equations

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("preset", objective_presets())
def test_a_preset_is_a_whole_objective(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = new_objective(Path("mine"), preset)
    assert said == "mine is ready: mend mine/OBJECTIVE.md to your liking, then: cd mine && loop run"
    objective = read_objective(Path("mine") / "OBJECTIVE.md")
    files = {"OBJECTIVE.md", *(Path(name).name for name in ROWS[preset])}
    assert {path.name for path in Path("mine").iterdir()} == files
    assert objective.demonstrations in files and len(read_demonstrations(objective)) >= 20
    tasks = Tasks(objective, [row.prompt for row in read_demonstrations(objective)])
    assert len(tasks.dev) and len(tasks.test) and tasks.practice


def test_the_default_preset_is_ready_to_run(tmp_path: Path) -> None:
    new_objective(tmp_path / "mine", "default")
    lines = check_objective(tmp_path / "mine" / "OBJECTIVE.md")
    assert any(text.startswith("demonstrations: ") and "working is checked" in text for text in lines)


def test_the_endpoint_preset_lacks_only_its_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_objective(tmp_path / "mine", "endpoint")
    path = tmp_path / "mine" / "OBJECTIVE.md"
    monkeypatch.delenv("LLM_API_KEY", raising=False)
    with pytest.raises(MissingError, match="LLM_API_KEY"):
        check_objective(path)
    monkeypatch.setenv("LLM_API_KEY", "of-no-worth")
    with FaultServer() as server:
        path.write_text(path.read_text().replace("https://llm.example.com", server.url))
        lines = check_objective(path)
    assert f"endpoint: {server.url}/v1 answers" in "\n".join(lines)
    assert f"cast: your-model (openai at {server.url}/v1) plans, student samples, " in "\n".join(lines)
    (dollars,) = [line for line in lines if line.startswith("dollars: ")]
    assert dollars.endswith("the cap is $5.00")


def test_the_rows_of_the_gpu_preset_are_right(tmp_path: Path) -> None:
    """Each demonstration's equations hold and its last one is the answer; no demonstrated problem is practised."""
    new_objective(tmp_path / "mine", "gpu")
    objective = read_objective(tmp_path / "mine" / "OBJECTIVE.md")
    demonstrations = read_demonstrations(objective)
    (source,) = objective.tasks.practice
    problems = read_problem_rows(source, objective.folder)
    for row in demonstrations:
        *_, last, answer = row.response.split("\n")
        assert check_equations(row.response).verdict == "passed", row.response
        assert answer == f"#### {last.rpartition('= ')[2]}"
    assert not {row.prompt for row in demonstrations} & {row.prompt for row in problems}
    assert len({row.prompt for row in problems}) == len(problems) == 20
    assert objective.weights == "lora" and objective.cast.sampler[0].engine == "vllm"


def test_the_default_preset_is_the_default_objective() -> None:
    """The two must not part: what `loop run` does in the checkout is what a new folder starts from."""
    text = (ROOT / "OBJECTIVE.md").read_text()
    (named,) = [line for line in text.split("\n") if line.startswith("demonstrations: ")]
    assert ROOT / named.removeprefix("demonstrations: ") == EXAMPLES / ROWS["default"][0]
    preset = (ROOT / "templates" / "objectives" / "default.md").read_text()
    assert preset == text.replace(named, "demonstrations: demonstrations.jsonl")


def test_every_preset_has_its_rows() -> None:
    assert sorted(ROWS) == objective_presets() == ["default", "endpoint", "gpu"]


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

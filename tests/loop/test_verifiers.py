"""The program checks, against published labels, tables of cases, and random workings.

Run as a program it prints the figures of README.md: PYTHONPATH=. python tests/loop/test_verifiers.py
"""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.errors import ObjectiveError
from loop.grounding import check_grounding
from loop.symbolic import Child
from loop.verifiers import (
    VERIFIERS,
    check_answer,
    check_equations,
    extract_answer,
    first_wrong_step,
    read_number,
)
from loop.working import evaluate, find_runs

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT.parent / "shared" / "data" / "gsm8k_model_solutions.jsonl"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
DISPUTED: dict[tuple[int, str], str] = {}
"""(row, model) of each published label that `numeric` disagrees with, and why. There is none."""
HANGS = "9^{9^{9^{9}}}"
FOREVER = 60.0


def passes(verifier, found, answer, **more):
    return check_answer(verifier, f"#### {found}", answer, **more).verdict == "passed"


# --- published labels ------------------------------------------------------------------------------------


@functools.cache
def judged_solutions():
    """(row, model, published label, question, solution, reference) of all 660 x 4 published solutions."""
    if not SOLUTIONS.exists():
        pytest.skip(f"{SOLUTIONS} is not on this machine")
    rows = [json.loads(line) for line in SOLUTIONS.read_text().splitlines()]
    return [
        (
            number,
            model,
            row[model]["is_correct"],
            row["question"],
            row[model]["solution"],
            row["ground_truth"],
        )
        for number, row in enumerate(rows)
        for model in MODELS
    ]


def test_numeric_agrees_with_all_published_labels():
    judged, disputed = judged_solutions(), set()
    assert len(judged) == 2640
    for row, model, label, _, solution, reference in judged:
        answer = extract_answer(reference, "A:")
        if passes_label(solution, answer) != label:
            disputed.add((row, model))
    assert disputed == set(DISPUTED)


def passes_label(solution, answer):
    return check_answer("numeric", solution, answer, where="A:").verdict == "passed"


def count_verdicts():
    """How often (label, check) says what, over the published solutions."""
    counts = Counter()
    for _, _, label, question, solution, _ in judged_solutions():
        counts[label, "equations", check_equations(solution).verdict] += 1
        counts[label, "grounding", check_grounding(question, solution).verdict] += 1
    return counts


def test_right_answers_with_wrong_working_are_as_reported():
    counts = count_verdicts()
    assert counts[True, "equations", "failed"] == 15
    assert counts[True, "equations", "passed"] == 993
    assert counts[False, "equations", "failed"] == 140
    assert counts[True, "grounding", "failed"] == 14
    assert counts[False, "grounding", "failed"] == 53


# --- finding the answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "where", "answer"),
    [
        ("work\n#### 5\nmore", "####", "5"),
        ("#### 5\n#### 6 ", "####", "6"),
        ("#### 5\n####\n7", "####", None),
        ("##### 5", "####", "5"),
        ("no marker", "####", None),
        ("#### 5\r\n", "####", "5"),
        ("A: 4\nA:  18 eggs", "A:", "18 eggs"),
        ("A: 4\nDNA: 7", "A:", "4"),
        (r"\boxed{1} then \boxed{\frac{1}{2}} end", "boxed", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", "boxed", r"\{1, 2\}"),
        (r"\boxed{1} then \boxed{2", "boxed", None),
        (r"\boxed{}", "boxed", None),
        ("boxed 5", "boxed", None),
        ("<answer>5</answer><answer>\n6\n</answer>", "tags", "6"),
        ("<answer>5</answer> or <answer>6", "tags", None),
        ("5</answer>", "tags", None),
        ("", "####", None),
    ],
)
def test_answer_is_found_where_it_stands(response, where, answer):
    assert extract_answer(response, where) == answer


@given(st.text(), st.text(alphabet="abc 123#:{}\\", max_size=20), st.sampled_from(["####", "A:", "=>"]))
def test_last_marker_decides(before, answer, where):
    if (where + answer).rfind(where) > 0:
        return
    assert extract_answer(f"{before}\n{where}{answer}\nafter", where) == (answer.strip() or None)


# --- the answer checks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_missing_answer_fails_every_verifier(verifier):
    check = check_answer(verifier, "no answer here", "5", scorer=lambda _: 1.0)
    assert (check.name, check.verdict, check.detail) == (verifier, "failed", "no answer")


def test_unknown_verifier_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="exact, numeric"):
        check_answer("exactly", "#### 5", "5")


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        ("18.00", "18"),
        ("$18.", "18"),
        ("1,234,567", "1234567"),
        ("−5", "-5"),
        ("-$5", "-5"),
        (r"\$18", "18"),
        ("1/2", "0.5"),
        ("-2 1/2", "-2.5"),
        ("50%", "50"),
        ("18 dollars a day", "18"),
        ("$18/day.", "18 dollars"),
        ("60 km/h", "60"),
        ("12 cm²", "12"),
        ("5 million", "5,000,000"),
        ("1e3", "1000"),
        ("**18**", "18"),
        (".5", "1/2"),
        ("+7", "7"),
        ("57.99999999999999", "58"),
        ("0.3333333", "1/3"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_same_number(found, answer):
    assert passes("numeric", found, answer)


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        ("19", "18"),
        ("-18", "18"),
        ("10000001", "10000000"),
        ("10000000.5", "10000000"),
        ("123456789012345678901234567891", "123456789012345678901234567890"),
        ("0.333", "1/3"),
        ("0.5", "50%"),
        ("18 or 20", "18"),
        ("3 hours 20 minutes", "3"),
        ("3,5", "35"),
        ("5x", "5"),
        ("18 - 3", "15"),
        ("1/0", "1"),
        (r"\frac{1}{2}", "0.5"),
        ("2^3", "8"),
        ("--5", "5"),
        ("eighteen", "18"),
        ("5 thousand", "5"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_other_number_or_none(found, answer):
    assert not passes("numeric", found, answer)


@given(st.integers(-(10**12), 10**12), st.integers(0, 3), st.sampled_from(["", "$", "€"]), st.booleans())
def test_writing_a_number_otherwise_does_not_change_it(number, decimals, money, commas):
    digits = f"{abs(number):,}" if commas else str(abs(number))
    text = ("-" if number < 0 else "") + money + digits + ("." + "0" * decimals if decimals else "")
    assert read_number(text) == number
    assert passes("numeric", text, str(number))
    assert not passes("numeric", text, str(number + 1))


@pytest.mark.parametrize(
    ("found", "answer", "is_right"),
    [
        ("B", "b", True),
        ("(B)", "B", True),
        ("B.", "B", True),
        ("b: foo", "B", True),
        ("The answer is (B).", "B", True),
        ("**B**", "(B) Paris", True),
        ("paris.", "B) Paris", True),
        ("B) a cat", "B", True),
        ("B) vitamin C", "B) Vitamin C", True),
        ("A", "B", False),
        ("a cat", "A", False),
        ("A) Paris", "B) Paris", False),
        ("B) London", "B) Paris", False),
        ("B or C", "B", False),
        ("B, C", "B", False),
        ("B) or C)", "B", False),
        ("B. C.", "B", False),
        ("(B)(C)", "B", False),
        ("b) c", "B", False),
        ("BC", "B", False),
    ],
)
def test_choice(found, answer, is_right):
    assert passes("choice", found, answer) == is_right


def test_exact_forgives_spaces_and_unicode_form_only():
    assert passes("exact", "a  caf\u0065\u0301", "a café")
    assert not passes("exact", "A café", "a café")
    assert not passes("exact", "5.0", "5")


def test_regex_matches_all_of_the_answer():
    assert passes("regex", "12 apples", r"\d+ apples?")
    assert not passes("regex", "about 12 apples", r"\d+ apples?")
    with pytest.raises(ObjectiveError, match="not a regular expression"):
        check_answer("regex", "#### 5", "(")


def test_catastrophic_pattern_is_bounded():
    began = time.monotonic()
    check = check_answer("regex", "#### " + "a" * 60 + "b", "(a|aa)+c")
    assert time.monotonic() - began < 20
    assert (check.verdict, check.detail[-9:]) == ("failed", "timed out")


@pytest.mark.parametrize(("score", "verdict"), [(1.0, "passed"), (0.99, "failed"), (float("nan"), "failed")])
def test_scorer_needs_full_marks(score, verdict):
    seen = []
    check = check_answer("scorer", "#### 5 6", "", scorer=lambda text: seen.append(text) or score)
    assert (check.verdict, seen) == (verdict, ["5 6"])
    assert f"score {score:g}" in check.detail


def test_scorer_that_stumbles_fails_the_answer():
    assert "JSONDecodeError" in check_answer("scorer", "#### [", "", scorer=json.loads).detail
    with pytest.raises(ValueError, match="needs the task's scorer"):
        check_answer("scorer", "#### 5", "5")


# --- math-verify in its process --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def child():
    child = Child()
    yield child
    child.close()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends_within(pid, seconds):
    until = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_running(pid)


@pytest.mark.parametrize(
    ("found", "answer", "is_right"),
    [
        (r"\frac{2}{4}", "1/2", True),
        (r"$\sqrt{12}$", r"2\sqrt{3}", True),
        ("x^2 + 2x + 1", "(x+1)^2", True),
        (r"\{2, 1\}", r"\{1,2\}", True),
        (r"18 \text{ dollars}", "18", True),
        (r"\$18", "18", True),
        ("xy", "yx", True),
        (r"2\sqrt{2}", r"2\sqrt{3}", False),
        ("tea", "eat", False),
        ("5} or {6", "5", False),
        ("5$ $6", "11", False),
        (r"\boxed{5}", "5", True),
        (r"\boxed{5} \boxed{6}", "5", False),
        ("5\\", "5", False),
        ("Paris", "2", False),
        ("1" * 3000, "1", False),
    ],
)
def test_math(child, found, answer, is_right):
    assert (child.compare(found, answer) is None) == is_right


def test_threads_do_not_mix_up_replies(child):
    wrong = []

    def ask(number):
        for _ in range(10):
            if (
                child.compare(rf"\frac{{{number}}}{{2}}", f"{number}/2") is not None
                or child.compare("1", "2") is None
            ):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(FOREVER)
    assert not wrong


def test_math_that_hangs_is_killed_and_the_next_is_answered():
    child = Child(deadline=1.0)
    assert child.compare("x", "x") is None
    pid = child.pid
    assert pid
    began = time.monotonic()
    assert child.compare(HANGS, "5") == "timed out"
    assert time.monotonic() - began < 20
    assert not is_running(pid)
    assert child.compare("2x", "x + x") is None
    second = child.pid
    assert second not in (None, pid)
    child.close()
    assert not is_running(second)


def test_interrupted_question_does_not_answer_the_next():
    child = Child(deadline=FOREVER)
    assert child.compare("x", "x") is None
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            child.compare(HANGS, "5")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert child.compare("x", "y") == ""
    child.close()


def test_child_that_dies_is_replaced(child):
    assert child.compare("x", "x") is None
    os.kill(child.pid, signal.SIGKILL)
    ends_within(child.pid, FOREVER)
    assert child.compare("x", "x") is None


@pytest.mark.parametrize(("question", "seconds"), [("5", 20), (HANGS, 20)], ids=["idle", "computing"])
def test_child_does_not_outlive_a_killed_parent(question, seconds):
    program = (
        "import threading, time\nfrom loop.symbolic import Child\n"
        "child = Child(deadline=1.0)\nchild.compare('x', 'x')\nprint(child.pid, flush=True)\n"
        f"threading.Thread(target=child.compare, args=({question!r}, '5')).start()\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert is_running(pid)
    finally:
        parent.kill()
        parent.communicate()
    has_ended = ends_within(pid, seconds)
    if not has_ended:
        os.kill(pid, signal.SIGKILL)
    assert has_ended


def test_importing_verifiers_is_light():
    heavy = "{'torch', 'sympy', 'math_verify', 'reasoning_gym'}"
    program = f"import sys, loop.verifiers; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- equations -------------------------------------------------------------------------------------------

TRUE = """
3 + 4 = 7                         | 12*3=<<12*3=36>>36                  | 2 * (3 + 4) = 14
5 x 3 = 15                        | 5x3=15                              | 10 ÷ 2 = 5
$5 + $3 = $8                      | -3 - -4 = 1                         | 3 − 7 = −4
1,000 + 1 = 1,001                 | 3 apples + 4 apples = 7 apples      | (3 + 4 = 7)
**3 * 4 = 12**                    | 3 * 4 = **12**                      | \\( \\frac{1}{2} + 3 = 3.5 \\)
3 \\times 4 = \\boxed{12}         | 1. 3 + 4 = 7                        | So it is -3 + 4 = 1.
2(60)=120                         | 105(2/7)=30 players                 | 100% - 60% = 40%
50000*5%=2500                     | 1/4 = 25%                           | 4/20 * 100% = 20%
1/3 = 0.333                       | 2/3 = 66.67%                        | 0.1 + 0.2 = 0.30000000000000004
5 boxes x $3 per box = $15        | $2/egg x 9 eggs = $18               | 3 + 4 = 7 = 5 + 2
12 = 3 * 4                        | -(2 + 3) * 2 = -10                  | 8 - 3 = 5 - so 5 are left
""".replace("\n", "|")

LIES = {
    "3 + 4 = 8": "3 + 4 = 8 (is 7)",
    "It takes 3 + 4 = 8 hours, no more": "3 + 4 = 8 (is 7)",
    "for a total of 3 + 4 = 8.": "3 + 4 = 8 (is 7)",
    "3 + 4 = 7 - 2 = 5": "3 + 4 = 7 - 2 (is 7)",
    "3 + 4 = 7 = 8": "7 = 8 (is 7)",
    "3 + 4\n= 8": "3 + 4 = 8 (is 7)",
    "3 + 4 =\n8": "3 + 4 = 8 (is 7)",
    "3 + 4 = <<3+4=7>>8": "3 + 4 = 8 (is 7)",
    "3 + 4 = <<3+4=8>>7": "3+4 = 8 (is 7)",
    "3 + 4 = 7 => 7 - 2 = 6": "7 - 2 = 6 (is 5)",
    "3 + 4 = 8 -> so": "3 + 4 = 8 (is 7)",
    "4 * 5 = 21 hours a week": "4 * 5 = 21 (is 20)",
    "3+4=7,7-2=6": "7-2 = 6 (is 5)",
    "3 + 4 = 7 7 - 2 = 6": "7 - 2 = 6 (is 5)",
    "3+4=7;4+4=9": "4+4 = 9 (is 8)",
    "Step 1:3+4=8": "3+4 = 8 (is 7)",
    "- 3 + 4 = 8": "3 + 4 = 8 (is 7)",
    "x = 3 + 4 = 8": "3 + 4 = 8 (is 7)",
    "Total cost = 3 + 4 = 8": "3 + 4 = 8 (is 7)",
    "**3 * 4 = 13**": "3 * 4 = 13 (is 12)",
    r"\(3 \times 4 = 13\)": "3 * 4 = 13 (is 12)",
    "3 apples + 4 apples = 8 apples": "3 apples + 4 apples = 8 (is 7)",
    "6 rows * 6 columns = 35 books": "6 rows * 6 columns = 35 (is 36)",
    "$5 + $3 = $9": "$5 + $3 = $9 (is 8)",
    "5 * -3 = 15": "5 * -3 = 15 (is -15)",
    "5 - 8 = 3": "5 - 8 = 3 (is -3)",
    "6 = 7 - 2": "6 = 7 - 2 (is 5)",
    "100% - 60% = 41%": "100% - 60% = 41% (is 40)",
    "1/4 = 25.05%": "1/4 = 25.05% (is 0.25)",
    "8 / 0 = 8": "8 / 0 = 8 (division by zero)",
    "3 + 4 = 7.0005": "3 + 4 = 7.0005 (is 7)",
    "0.0005 * 2 = 0.0012": "0.0005 * 2 = 0.0012 (is 0.001)",
    "7 / 3 = 2": "7 / 3 = 2 (is 2.33333)",
    "1/3 = 0.332": "1/3 = 0.332 (is 0.333333)",
}

UNSURE = """
x + 5 = 9        | 2s + 30 = 110     | 3x+2x=180 degrees | 50% of 20 = 11    | half of 10 + 2 = 7 | x = 5
2^3 + 1 = 10     | 5! = 121          | 2**3 = 9          | 3 dozen x 2 = 72  | f(3) + 1 = 9    | 5² + 1 = 27
2 hours + 30 minutes = 150 minutes   | $60 + 25% = $75   | 15 gallons = 120 pints | 3:30 + 1 = 4:30
48/3-quarters=16 | December31-July19=92 | 3 + 4 >= 8     | 3 + 4 != 8        | 28-2x=20        | 4(2x)=9x
2 1/2 + 1 = 4    | 6/2(1+2) = 8      | 25 / 1/3 = 75     | 2 days = 7 + 2    | 3 + 4 = 2 dozen | 1e3 + 1 = 5
3 more than James + 1 = 9            | 1,2+3=6           | 20 + 1 = ?        | just words      | 3 + 4
3 * (4) 2 = 9    | 1/3 of Sol = 66/3 | 5 squared + 1 = 27 | 10 mod 3 + 1 = 3
""".replace("\n", "|")


def cells(table):
    return [cell.strip() for cell in table.split("|") if cell.strip()]


@pytest.mark.parametrize("text", cells(TRUE))
def test_true_equation_passes(text):
    check = check_equations(text)
    assert (check.name, check.verdict) == ("equations", "passed"), check.detail


@pytest.mark.parametrize("text", LIES)
def test_lie_is_caught_wherever_it_stands(text):
    assert first_wrong_step(text) == LIES[text]
    check = check_equations(f"2 + 2 = 4.\n{text}\n#### 8")
    assert (check.verdict, check.detail) == ("failed", LIES[text])


@pytest.mark.parametrize("text", cells(UNSURE))
def test_what_cannot_be_read_for_certain_is_left_alone(text):
    assert check_equations(text).verdict == "absent"


ALONE = ("{}", "So {}.", "- {}", "**{}**", "({})", "2. {}", "that is {} in all", r"\({}\)", "then {},")
NUMBERS = st.one_of(st.integers(0, 999), st.integers(0, 9999).map(lambda n: Fraction(n, 100)))


def written(number):
    """A number with at most six decimals, exactly."""
    scaled = abs(number) * 10**6
    whole, rest = divmod(int(scaled), 10**6)
    assert scaled == int(scaled)
    return ("-" if number < 0 else "") + str(whole) + (f".{rest:06}".rstrip("0") if rest else "")


@st.composite
def workings(draw):
    """Lines of a true working, each (frame, left side, result)."""
    total, lines = Fraction(draw(NUMBERS)), []
    for _ in range(draw(st.integers(1, 6))):
        sign, number = draw(st.sampled_from("+-*")), Fraction(draw(NUMBERS))
        if sign == "*":
            number = Fraction(int(number) % 10)
        left = f"{written(total)} {sign} {written(number)}"
        total = {"+": total + number, "-": total - number, "*": total * number}[sign]
        lines.append((draw(st.sampled_from(ALONE)), left, written(total)))
    return lines


@given(workings(), st.data())
def test_true_working_passes_and_one_changed_digit_fails(lines, data):
    text = "\n".join(frame.format(f"{left} = {result}") for frame, left, result in lines)
    assert check_equations(text).detail == f"{len(lines)} right"
    at = data.draw(st.integers(0, len(lines) - 1))
    frame, left, result = lines[at]
    place = data.draw(st.sampled_from([place for place, sign in enumerate(result) if sign.isdigit()]))
    digit = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != result[place]]))
    lie = f"{left} = {result[:place]}{digit}{result[place + 1 :]}"
    changed = [frame.format(lie) if line == at else line_text for line, line_text in enumerate(text.split("\n"))]
    assert first_wrong_step("\n".join(changed)) == f"{lie} (is {round_number(lines[at][2])})"


def round_number(text):
    return text if "." not in text else f"{float(text):.6g}"


EXPRESSIONS = st.recursive(
    st.integers(0, 50).map(lambda n: (str(n), Fraction(n))),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: joined(*t)),
    max_leaves=12,
)


def joined(left, sign, right):
    (left_text, a), (right_text, b) = left, right
    if sign == "/" and b == 0:
        sign = "+"
    value = {"+": a + b, "-": a - b, "*": a * b}[sign] if sign != "/" else a / b
    return f"({left_text} {sign} {right_text})", value


@given(EXPRESSIONS)
def test_evaluation_agrees_with_fractions(expression):
    text, value = expression
    (run,) = find_runs(f"{text} + 0 = 1")
    assert run.sides[0] is not None
    assert evaluate(run.sides[0].tree) == value


@pytest.mark.parametrize(
    "precedence", ["2 + 3 * 4 = 14", "20 - 5 - 3 = 12", "24 / 4 / 2 = 3", "2 - 3 * 2 + 8 / 4 = -2"]
)
def test_precedence(precedence):
    assert check_equations(precedence).verdict == "passed"


@pytest.mark.parametrize(
    "piece",
    [
        "(",
        "1+",
        "2*",
        "9",
        "99*",
        "- ",
        "1 ",
        "1,",
        "1 - - ",
        "* ",
        "*a",
        "<<",
        "\n",
        "a = ",
        "3 + 4 = ",
        "\\frac{",
        "/ab",
    ],
)
def test_degenerate_text_takes_no_time(piece):
    began = time.monotonic()
    text = piece * 5000 + "1 = 2"
    check_equations(text)
    check_grounding("1 + 1 =", text)
    check_answer("numeric", f"#### 5{piece * 5000}=", "5")
    assert time.monotonic() - began < 20


# --- grounding -------------------------------------------------------------------------------------------

CHAIN = "State the final answer to the following arithmetic problem: 4 - 1 - 7 ="
EGGS = "Ann's ducks lay 16 eggs a day. She eats three, bakes with 40% of the rest and gets $2.50 an egg."


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        (CHAIN, "4 - 1 = 3\n3 - 7 = -4\n#### -4"),
        (CHAIN, "1 + 7 = 8\n4 - 8 = -4"),
        (CHAIN, "4 - 7 = -3\n-3 - 1 = -4"),
        (CHAIN, "-1 - 7 = -8\n4 + -8 = -4"),
        (CHAIN, "4 - 1 - 7 = 3 - 7 = -4"),
        (CHAIN, "4 - 1 - 7 = 4 - 8 = -4"),
        (CHAIN, "4 - 1 = 3\n3 - 7 = -4\nSo 4 - 1 - 7 = -4"),
        (CHAIN, "4 - 1 = 2\n2 - 7 = -5\n#### 9"),
        ("4 - 1 - 3", "4 - 1 = 3\n3 - 3 = 0"),
        ("9 + 9 + 9", "9 + 9 = 18\n18 + 9 = 27"),
        ("Calculate ( 56 + -33 ) - 84.", "56 - 33 = 23\n23 - 84 = -61"),
        ("5 - (2 - 3)", "2 - 3 = -1\n5 - -1 = 6"),
        ("5 - 0 - 2", "5 - 0 = 5\n5 - 2 = 3"),
        ("3 * 4 + 2 =", "3 * 4 = 12\n12 + 2 = 14"),
        (EGGS, "16 - 3 = 13\n13 * 0.4 = 5.2\n13 * .6 = 7.8\n7.8 * 2.5 = 19.5\n19.5 * 7 = 136.5"),
        (EGGS, "She keeps 16 - 3 = <<16-3=13>>13, 13 * 40% = 5.2"),
    ],
)
def test_working_of_this_problem_is_grounded(prompt, response):
    check = check_grounding(prompt, response)
    assert (check.name, check.verdict) == ("grounding", "passed"), check.detail


@pytest.mark.parametrize(
    ("prompt", "response", "detail"),
    [
        (CHAIN, "4 - 2 = 2\n2 - 6 = -4\n#### -4", "4 - 2: 2 comes from nowhere"),
        (CHAIN, "4 + 1 = 5\n5 - 7 = -2", "4 + 1: no part of the problem"),
        (CHAIN, "4 - 1 = 3\n3 + 7 = 10", "3 + 7: no part of the problem"),
        (CHAIN, "4 - 1 = 3\n3 - 1 = 2", "3 - 1: no part of the problem"),
        (CHAIN, "1 - 4 = -3\n-3 - 7 = -10", "-3 - 7: no part of the problem"),
        (CHAIN, "3 - 7 = -4\n#### -4", "3 - 7: 3 comes from nowhere"),
        (CHAIN, "4 - 8 = -4\n#### -4", "4 - 8: 8 comes from nowhere"),
        (CHAIN, "4 - 1 - 7 = 2 - 6 = -4", "2 - 6: 2 comes from nowhere"),
        (CHAIN, "4 - 1 = 3\n#### -4", "never used: -7"),
        (CHAIN, "1 + 7 = 8\n8 - 4 = 4\n#### -4", "never used: 4, -1, -7"),
        ("3 * 4 + 2 =", "3 * 4 = 12\n12 + 3 = 15", "12 + 3: no part of the problem"),
        ("3 * 4 + 2 =", "3 * 4 = 12", "never used: 2"),
        ("4 + 2 =", "4 * 2 = 8", "4 * 2: no part of the problem"),
        (EGGS, "16 - 3 = 13\n13 - 9 = 4", "13 - 9: 9 comes from nowhere"),
        (EGGS, "13 - 5 = 8", "13 - 5: 13 comes from nowhere"),
    ],
)
def test_working_of_another_problem_is_not(prompt, response, detail):
    check = check_grounding(prompt, response)
    assert (check.verdict, check.detail) == ("failed", detail)


def test_grounding_is_absent_without_equations():
    assert check_grounding(CHAIN, "I think it is\n#### -4").verdict == "absent"


@st.composite
def derivations(draw):
    """Signed terms, and the lines of a working that adds neighbours in any order."""
    terms = draw(st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=7))
    terms[0] = abs(terms[0])
    values, lines = list(terms), []
    while len(values) > 1:
        at = draw(st.integers(0, len(values) - 2))
        left, right = values[at : at + 2]
        lines.append(f"{left} {'-' if right < 0 else '+'} {abs(right)} = {left + right}")
        values[at : at + 2] = [left + right]
    return terms, lines


def as_prompt(terms):
    signed = "".join(f" {'-' if term < 0 else '+'} {abs(term)}" for term in terms[1:])
    return f"State the final answer to the following arithmetic problem: {terms[0]}{signed} ="


@settings(max_examples=200)
@given(derivations(), st.data())
def test_any_order_is_grounded_in_its_problem_and_in_no_other(derivation, data):
    terms, lines = derivation
    response = "\n".join(lines)
    assert check_equations(response).verdict == "passed"
    assert check_grounding(as_prompt(terms), response).verdict == "passed"
    at = data.draw(st.integers(0, len(terms) - 1))
    other = [*terms[:at], terms[at] + (10 if terms[at] > 0 else -10), *terms[at + 1 :]]
    assert check_grounding(as_prompt(other), response).verdict == "failed"
    assert check_grounding(as_prompt([*terms, 3]), response).verdict == "failed"


def report():
    """Print the figures that README.md quotes."""
    counts = count_verdicts()
    agreeing = sum(
        passes_label(solution, extract_answer(reference, "A:")) == label
        for _, _, label, _, solution, reference in judged_solutions()
    )
    print(f"numeric agrees with {agreeing} of {len(judged_solutions())} published labels")
    for label in (True, False):
        total = sum(counts[label, "equations", verdict] for verdict in ("passed", "failed", "absent"))
        for name in ("equations", "grounding"):
            shares = [f"{v} {counts[label, name, v]}" for v in ("passed", "failed", "absent")]
            failed = counts[label, name, "failed"] / total
            kind = "right" if label else "wrong"
            print(f"{kind} answers {total:5}: {name} {', '.join(shares)} ({failed:.1%} failed)")
    counts = Counter()
    for name in ("gsm8k_train.jsonl", "gsm8k_test.jsonl"):
        for line in (SOLUTIONS.parent / name).read_text().splitlines():
            row = json.loads(line)
            counts["equations", check_equations(row["answer"]).verdict] += 1
            counts["grounding", check_grounding(row["question"], row["answer"]).verdict] += 1
    print("reference solutions of GSM8K:", ", ".join(f"{' '.join(key)} {n}" for key, n in sorted(counts.items())))
    for row, model, label, _, solution, _ in judged_solutions():
        if label and (step := first_wrong_step(solution)):
            print(f"right answer, wrong step: row {row}, {model}: {step}")


if __name__ == "__main__":
    report()

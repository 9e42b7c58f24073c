"""The shipped care-plan library is whole, and a file that is not is refused as a whole."""

from pathlib import Path

import pytest

from adapters.care_plans.reader import SHIPPED, MalformedLibraryError, read_library
from clinical.prediction.action import Action
from clinical.prediction.constraint import Constraint, OnRecord, broken
from clinical.prediction.library import NotInLibraryError
from clinical.prediction.plan import MAX_CHOICES, MAX_MOMENTS
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.commands.processes import shipped_checkpoint

LIBRARY = read_library()


def test_the_shipped_library_says_where_it_comes_from() -> None:
    assert "no guideline" in LIBRARY.source
    assert LIBRARY.version
    assert all(
        len(d.choices) <= MAX_CHOICES and len(d.moments) <= MAX_MOMENTS for d in LIBRARY.decisions
    )


def test_the_shipped_model_has_met_every_code_of_it() -> None:
    """A token each; which can be planned the model says: it needs enough patients who were so treated."""
    text = (shipped_checkpoint() / "vocabulary.json").read_text()
    vocabulary = Vocabulary.from_json(text)
    assert [key for key in LIBRARY.actions if key not in vocabulary.tokens] == []
    assert sum(key in vocabulary.actions for key in LIBRARY.actions) >= 8
    assert [g.name for g in LIBRARY.goals if g.code.key not in vocabulary.numeric] == []
    for goal in LIBRARY.goals:
        assert goal.unit in vocabulary.scales[goal.code.key].conversions


def test_every_rule_is_about_actions_of_the_library() -> None:
    rules, known = LIBRARY.rules, set(LIBRARY.actions)
    named = [a for rule in rules.allergens for a in rule.actions]
    named += [a for rule in rules.alternatives for a in rule.actions]
    named += [a for rule in rules.interactions for a in rule.one]
    assert set(named) <= known


def test_its_rules_forbid_what_they_say() -> None:
    def do(decision: str, choice: str) -> tuple[Action, ...]:
        return LIBRARY.decision(decision, (choice,)).choices[0].actions

    on_warfarin = OnRecord(frozenset(), frozenset({"RxNorm|855332"}))
    for drug in ("naproxen-220", "ibuprofen-200"):
        found = broken(do("pain", drug), on_warfarin, LIBRARY.rules)
        assert [each.constraint for each in found] == [Constraint.INTERACTION]
    assert broken(do("pain", "acetaminophen-325"), on_warfarin, LIBRARY.rules) == ()
    both = do("statin", "simvastatin-10") + do("statin", "simvastatin-20")
    assert [b.constraint for b in broken(both, on_warfarin, LIBRARY.rules)] == [
        Constraint.CONTRADICTORY
    ]


def test_a_selection_keeps_the_choices_named() -> None:
    assert len(LIBRARY.decision("pain").choices) == 3
    assert [c.name for c in LIBRARY.decision("pain", ("naproxen-220",)).choices] == ["naproxen-220"]
    for missing in (("pain", ("x",)), ("x", ())):
        with pytest.raises(NotInLibraryError):
            LIBRARY.decision(*missing)
    with pytest.raises(NotInLibraryError):
        LIBRARY.goal("x")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('name = "statin"', 'name = "statin"\ncolour = "red"'),
        ('name = "statin"', 'name = "pain"'),
        ('"CVX|140"', '"CVX140"'),
        ('kind = "immunization"', 'kind = "magic"'),
        ("high = 130", "low = 140\nhigh = 130"),
        ("moments_days = [0, 30, 60]", "moments_days = [-1]"),
        ("[[goal]]", "[[goal"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, before: str, after: str) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "library.toml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(MalformedLibraryError):
        read_library(tmp_path / "library.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedLibraryError):
        read_library(tmp_path / "none.toml")

import pytest

from dashboards.pages.data import content
from dashboards.state import Query
from tracker.store.data_profile import (
    DataProfile,
    LabelCount,
    Lengths,
    MixVolume,
    Quantiles,
    ShownRow,
    ShownTurn,
    SplitProfile,
    TaskProfile,
    TextProfile,
)
from tracker.task import PromptTemplate

SPAN = Quantiles(least=1, p10=2, median=5, p90=9, most=20)
LENGTHS = Lengths(unit="tokens", tokenizer="en-1m", rows=10, prompt=SPAN, answer=SPAN)
EVIL = "<img src=x onerror=alert(1)>"


def task(name: str, **changes) -> TaskProfile:
    turns = (
        ShownTurn(role="user", text=f"{EVIL} {name}", cut=40),
        ShownTurn(role="answer", text="yes"),
    )
    train = SplitProfile(
        rows=100,
        labels=(LabelCount(label="yes", rows=70), LabelCount(label="no", rows=30)),
        distinct=2,
        fewest=30,
        repeated=4,
        lengths=LENGTHS,
        shown=(ShownRow(turns=turns),),
    )
    validation = train.model_copy(update={"seen": {"train": 3}, "shown": (), "repeated": 0})
    values = {
        "name": name,
        "prompt": PromptTemplate(instruction="Say yes or no."),
        "answer": "{label}",
        "score": "macro_f1",
        "negative": "no",
        "splits": {"train": train, "validation": validation},
    }
    return TaskProfile(**(values | changes))


PROFILE = DataProfile(
    tasks=(task("intent"), task("slots", prompt=None, answer=None)),
    suites=(
        TextProfile(
            name="english", rows=9, lengths=LENGTHS, shown=(ShownTurn(role="text", text="hi"),)
        ),
    ),
    volumes=(
        MixVolume(mix="even", volume=50, examples={"intent": 25, "slots": 25}, replay_rows=2),
        MixVolume(mix="boost", volume=50, examples={"intent": 50}, extra_epochs={"intent": 1}),
    ),
)


@pytest.fixture
def view(view_of, records):
    def build(profile: DataProfile | None, notes: tuple[str, ...] = ()):
        found = view_of(records, notes=notes)
        found.analysis.data = profile
        return found

    return build


def test_the_page_says_rows_labels_lengths_and_template(view, words):
    text = words(content(view(PROFILE), Query(), "light"))
    assert "200" in text  # rows to train on
    assert "2 distinct, 30 to 70 rows each" in text
    assert "right in 70.0 % of rows" in text
    assert "In tokens of en-1m" in text
    assert "Say yes or no." in text
    assert "40 more characters" in text


def test_repeats_and_notes_are_said(view, words):
    text = words(content(view(PROFILE, ("a leak was allowed",)), Query(), None))
    assert "4 within train, 3 of validation also in train" in text
    assert "a leak was allowed" in text


def test_a_task_a_file_and_a_mix_can_be_picked(view, words):
    text = words(
        content(view(PROFILE), Query.of(task="slots", split="validation", mix="boost"), None)
    )
    assert "What the model reads: slots, validation" in text
    assert "no template is applied" in text
    assert "The data profile has no rows" in text
    assert "Extra passes over a task's examples: intent: 1 more" in text
    fallback = words(content(view(PROFILE), Query.of(task="no", split="no", mix="no"), None))
    assert "What the model reads: intent, train" in fallback


def test_what_each_mix_holds_is_in_the_table(view, words):
    text = words(content(view(PROFILE), Query(), None))
    assert "even 50 25 25 2 4.0 %" in text


def test_an_older_sweep_says_so_and_shows_what_its_trials_say(view, words):
    text = words(content(view(None), Query(), None))
    assert "has no data profile" in text
    assert "intent macro-F1 400 1,000" in text
    assert "even 2,000 1,000 1,000" in text


def test_before_the_first_trial_it_still_stands(view_of, words):
    text = words(content(view_of([]), Query(), None))
    assert "No trials yet" in text
    assert "Not known" in text


def test_rows_are_text(view, words):
    built = content(view(PROFILE), Query(), None)
    assert f"{EVIL} intent" in words(built)

"""Outside tables as trials: what is taken, what is named, what is refused, and all of it at once."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.decision.analysis import Analysis
from tracker.decision.recommend import recommend
from tracker.errors import InputError, StoreError
from tracker.importing.metric_names import Direction
from tracker.importing.readers import read_runs
from tracker.importing.trials import outside_table, read_table, write_sweep
from tracker.results import results_table
from tracker.store.store import Store
from tracker.trial import Status

PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "public_results"
HEAD = "model,model_params,family,method,rank,learning_rate,task,metric,direction,examples,value"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write("m,100,F,lora,8,1e-3,t,loss,minimize,200,1.5", head=...)``: a table of these rows."""

    def table(*rows: str, head: str = HEAD, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([head, *rows, ""]), encoding="utf-8")
        return path

    return table


def problems(path: Path, **options: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_table(path, **options)  # type: ignore[arg-type]
    return list(caught.value.problems)


# -- what is taken -----------------------------------------------------------------------------


def test_rows_of_one_configuration_are_one_trial(write: Write) -> None:
    path = write(
        "m,100,F,lora,8,1e-3,intent,accuracy,maximize,200,0.75",
        "m,100,F,lora,8,1e-3,intent,bits_per_byte,minimize,200,0.5",
        "m,100,F,lora,8,1e-3,slots,f1,maximize,200,0.25",
        "m,100,F,lora,8,1e-3,english,forgetting,minimize,200,0.03",
        "m,100,F,lora,8,1e-3,intent,accuracy,maximize,400,0.8",
    )
    table = read_table(path)
    first, second = (record.result for record in table.records)
    intent, slots = first.tasks
    assert (intent.score, intent.score_name, intent.bits_per_byte) == (0.75, "accuracy", 0.5)
    assert (slots.score, slots.score_name, slots.n) == (0.25, "f1", None)
    assert first.general[0].forgetting == pytest.approx(0.03)
    assert (first.spec.volume, second.spec.volume, second.spec.examples) == (
        200,
        400,
        {"intent": 400},
    )
    assert first.spec.examples == {}  # two tasks: how they share the 200 is not known
    assert table.objective.weights == {"intent": 1, "slots": 1}


def test_a_trial_says_where_it_came_from(write: Write) -> None:
    row = "m,100,F,full,,,t,loss,minimize,200,1.5"
    first = read_table(write(row)).records[0].result.spec
    other = read_table(write(row, name="other.csv")).records[0].result.spec
    assert first.origin is not None
    assert first.origin.startswith("table.csv ")
    assert first.key != other.key
    assert first.tasks == ()


def test_no_examples_is_the_untouched_base_whatever_its_method(write: Write) -> None:
    table = read_table(
        write(
            "m,100,F,full,,,t,loss,minimize,0,2.5",
            "m,100,F,lora,8,1e-3,t,loss,minimize,0,2.5",
            "m,100,F,lora,8,1e-3,t,loss,minimize,200,1.5",
        )
    )
    assert [r.result.spec.method.name for r in table.records] == ["none", "lora"]
    assert table.records[0].result.spec.seed == 0
    assert not any("copies" in note for note in table.notes)


def test_repeats_are_seeds_and_copies_are_not(write: Write) -> None:
    row = "m,100,F,full,,,t,loss,minimize,200,"
    table = read_table(write(row + "1.5", row + "1.6", row + "1.5", row + "1.7"))
    assert [r.result.spec.seed for r in table.records] == [0, 1, 2]
    assert "1 rows are copies of others and count once" in table.notes


def test_methods_of_others_keep_name_and_variant(write: Write) -> None:
    table = read_table(
        write(
            "m,100,F,adalora/r32,8,1e-4,t,accuracy,maximize,200,0.5",
            "m,100,F,full-finetuning/lr,,1e-4,t,accuracy,maximize,200,0.5",
            "m,100,F,P-Tuning,16,1e-4,t,accuracy,maximize,200,0.5",
        )
    )
    methods = [r.result.spec.method for r in table.records]
    assert [(m.name, m.variant) for m in methods] == [
        ("adalora", "r32"),
        ("full", "lr"),
        ("p_tuning", None),
    ]
    assert (methods[2].rank, methods[2].virtual_tokens) == (None, 16)


def test_optional_columns_are_used(write: Write) -> None:
    head = (
        "model,method,task,metric,examples,value,value_se,n,seed,mix,variant,epochs,status,"
        "train_tokens,flops,gpu_seconds,peak_memory_bytes,trainable_params"
    )
    table = read_table(
        write(
            "m,lora,t,accuracy,200,0.5,0.02,150,7,even,dora,3,complete,1000,1e9,12.5,4096,64",
            "m,lora,,,400,,,,7,even,dora,3,diverged,,,,,",
            head=head,
        )
    )
    result, lost = (record.result for record in table.records)
    spec, cost, score = result.spec, result.cost, result.tasks[0]
    assert (spec.seed, spec.mix and spec.mix.name, spec.method.variant) == (7, "even", "dora")
    assert (spec.train.epochs, spec.model.parameters) == (3, None)
    assert (score.score_se, score.n) == (0.02, 150)
    assert (cost.train_tokens, cost.flops, cost.device_seconds) == (1000, 1e9, 12.5)
    assert (cost.peak_bytes, cost.trained_parameters) == (4096, 64)
    assert (lost.status, lost.tasks) == (Status.DIVERGED, ())


def test_perplexity_is_taken_as_its_logarithm(write: Write) -> None:
    table = read_table(write("m,100,F,full,,,t,test_perplexity,minimize,200,7.38905609893065"))
    assert table.records[0].result.tasks[0].loss_nats == pytest.approx(2.0)
    assert any("logarithm" in note for note in table.notes)


def test_configurations_that_differ_in_epochs_have_different_names(write: Write) -> None:
    head = "model,method,task,metric,examples,epochs,value"
    rows = ["m,full,t,loss,200,1,1.5", "m,full,t,loss,200,3,1.2", "m,lora,t,loss,200,1,1.3"]
    methods = [r.result.spec.method for r in read_table(write(*rows, head=head)).records]
    assert [m.variant for m in methods] == ["1 epochs", "3 epochs", None]


def test_a_byte_order_mark_a_zip_and_other_names_change_nothing(
    write: Write, tmp_path: Path
) -> None:
    row = "m,100,F,full,,,t,loss,minimize,200,1.5"
    plain = read_table(write(row))
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    (zipped / "table.csv.gz").write_bytes(gzip.compress(write(row).read_bytes()))
    assert read_table(zipped / "table.csv.gz").records == plain.records
    marked = tmp_path / "table.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + marked.read_bytes())
    assert len(read_table(marked).records) == 1
    renamed = write(row, head=HEAD.replace("model,", "base,", 1))
    spec = read_table(renamed, {"model": "base"}).records[0].result.spec
    assert spec.model.name == "m"


def test_the_table_of_outside_trials_is_like_any_other(write: Write) -> None:
    table = results_table(
        read_table(
            write("m,,,full,,,t,loss,minimize,0,2.5", "m,,,full,,,t,loss,minimize,200,1.5")
        ).records
    )
    assert table["examples"].tolist() == [0, 200]
    assert table["parameters"].isna().all()
    assert table["loss_nats"].tolist() == [2.5, 1.5]


# -- what is named -------------------------------------------------------------------------------


def test_losses_of_several_families_are_noted(write: Write) -> None:
    rows = [
        "a,100,Alpha,full,,,t,loss,minimize,200,1.5",
        "b,100,Beta,full,,,t,loss,minimize,200,1.6",
    ]
    assert any("2 families (Alpha, Beta)" in note for note in read_table(write(*rows)).notes)
    same = [row.replace("Beta", "Alpha") for row in rows]
    assert not any("families" in note for note in read_table(write(*same)).notes)
    scored = [row.replace("loss,minimize", "bits_per_byte,minimize") for row in rows]
    assert not any("families" in note for note in read_table(write(*scored)).notes)


def test_a_column_that_tells_repeats_apart_is_named(write: Write) -> None:
    head = HEAD + ",dropout,colour"
    row = "m,100,F,full,,,t,loss,minimize,200,"
    table = read_table(write(row + "1.5,0.1,red", row + "1.6,0.2,red", head=head))
    assert any("dropout, colour" in note for note in table.notes)
    assert any("differ in dropout" in note and "variant=dropout" in note for note in table.notes)
    split = read_table(
        write(row + "1.5,0.1,red", row + "1.6,0.2,red", head=head), {"variant": "dropout"}
    )
    assert [r.result.spec.method.variant for r in split.records] == ["0.1", "0.2"]


def test_costs_that_disagree_within_a_trial_are_left_out(write: Write) -> None:
    head = "model,method,task,metric,examples,value,gpu_seconds"
    table = read_table(write("m,full,t,loss,200,1.5,10", "m,full,u,loss,200,1.5,20", head=head))
    assert table.records[0].result.cost.device_seconds is None
    assert any(note.startswith("device_seconds differs") for note in table.notes)


# -- what is refused -------------------------------------------------------------------------------


GOOD = "m,100,F,full,,,t,loss,minimize,200,1.5"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["m,100,F,full,,,t,accuracy,maximize,200,37.5"], ":2: value: found '37.5'", ),
        (["m,100,F,full,,,t,loss,minimize,200,much"], ":2: value: found 'much'"),
        (["m,100,F,full,,,t,loss,minimize,200,nan"], "status diverged"),
        (["m,100,F,full,,,t,loss,minimize,200,-1"], "above 0, in nats"),
        (["m,100,F,full,,,t,loss,sideways,200,1"], "direction: found 'sideways'"),
        (["m,100,F,full,,,t,loss,maximize,200,1"], "allowed: minimize"),
        (["m,100,F,full,,,t,accuracy,minimize,200,0.5"], "allowed: maximize"),
        (["m,100,F,full,,,t,mine,,200,0.5"], "metric: found 'mine'"),
        (["m,100,F,full,,,t,loss,minimize,2.5,1"], "examples: found '2.5'"),
        (["m,100,F,full,,,t,loss,minimize,,1"], "examples: found nothing"),
        ([",100,F,full,,,t,loss,minimize,200,1"], "model: found nothing"),
        (["m,100,F,none,,,t,loss,minimize,200,1"], "a tuning method where examples is above 0"),
        (["m,100,F,.full,,,t,loss,minimize,200,1"], ":2: method: found '.full'; allowed: a name that"),
        (["m,100,F,---,,,t,loss,minimize,200,1"], ":2: method: found '---'; allowed: a name that"),
        (["m,7B,F,full,,,t,loss,minimize,200,1"], "model_params: found '7B'"),
        ([GOOD, "m,200,F,full,,,t,loss,minimize,400,1"], "parameters 200 here and 100 above"),
        ([GOOD, "m,100,G,full,,,t,loss,minimize,400,1"], "family G here and F above"),
        ([GOOD, "m,100,F,full,,,t,loss,maximize,400,1"], "loss has two directions: minimize (rows 2)"),
        ([GOOD, "m,100,F,full,,,t,nll,minimize,400,1"], "loss (1 rows), nll (1 rows)"),
        ([GOOD, "m,100,F"], ":3: found 3 cells; the header has 11"),
        ([GOOD, '"m,100'], "not CSV"),
        ([], "no rows"),
        (["m,100,F,full,,,t,loss,minimize,200,"], "no row holds the value"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_where_and_why(
    write: Write, rows: list[str], message: str
) -> None:
    assert any(message in problem for problem in problems(write(*rows)))


def test_every_problem_is_named_at_once_and_many_alike_are_counted(write: Write) -> None:
    percent = [f"m,100,F,full,,,t,accuracy,maximize,{n},50" for n in range(200, 230)]
    found = problems(write(*percent, "m,x,F,full,,,t,accuracy,maximize,900,0.5"))
    assert sum("value: found '50'" in problem for problem in found) == 10
    assert any("20 more" in problem for problem in found)
    assert any(":32: model_params: found 'x'" in problem for problem in found)


def test_columns_without_a_meaning_may_hold_any_text(write: Write) -> None:
    """The hyper-parameters of an untouched base, and what a run that diverged measured."""
    head = f"{HEAD},status"
    table = read_table(
        write(
            "m,100,F,base,-,n/a,t,loss,minimize,0,2.5,ok",
            "m,100,F,lora,8,1e-3,t,loss,minimize,200,nan,diverged",
            head=head,
        )
    )
    assert [r.result.status for r in table.records] == [Status.COMPLETE, Status.DIVERGED]


def test_headers_that_do_not_fit(write: Write, tmp_path: Path) -> None:
    missing = problems(write(GOOD, head=HEAD.replace("model,", "model_name,", 1)))
    assert "did you mean 'model_name'? Then --map model=model_name" in missing[0]
    twice = problems(write(GOOD + ",2", head=HEAD + ",value"))
    assert any("column 'value' stands there 2 times" in problem for problem in twice)
    mapped = problems(write(GOOD), columns={"modle": "model", "model": "nosuch"})
    assert any("did you mean 'model'?" in problem for problem in mapped)
    assert any("no column 'nosuch'" in problem for problem in mapped)
    tabbed = problems(write("m\tfull", head="model\tmethod"))
    assert "separated by commas" in tabbed[0]
    (tmp_path / "empty.csv").write_text("")
    assert "empty" in problems(tmp_path / "empty.csv")[0]
    (tmp_path / "latin.csv").write_bytes(b"model\n\xe9\n")
    assert ":2: not UTF-8" in problems(tmp_path / "latin.csv")[0]
    assert "cannot be read" in problems(tmp_path / "nosuch.csv")[0]


def test_one_metric_of_a_kind_is_chosen_by_name(write: Write) -> None:
    rows = [
        "m,100,F,full,,,t,accuracy,maximize,200,0.5",
        "m,100,F,full,,,t,f1,maximize,200,0.25",
        "m,100,F,full,,,u,exact_match,maximize,200,0.75",
        "m,100,F,full,,,t,loss,minimize,200,1.5",
    ]
    table = read_table(write(*rows), metric="f1")
    scores = {s.task: (s.score_name, s.score) for s in table.records[0].result.tasks}
    assert scores == {"t": ("f1", 0.25), "u": ("exact_match", 0.75)}
    assert table.records[0].result.tasks[0].loss_nats == 1.5
    assert any("f1 is taken" in note for note in table.notes)
    assert "did you mean 'f1'?" in problems(write(*rows), metric="f11")[0]


def test_a_seed_that_stands_twice_with_two_values_is_refused(write: Write) -> None:
    head = "model,method,task,metric,examples,value,seed"
    rows = ["m,full,t,loss,200,1.5,0", "m,full,t,loss,200,1.6,0"]
    assert ":3: loss of t stands there twice" in problems(write(*rows, head=head))[0]


# -- into the store -----------------------------------------------------------------------------


def test_a_table_becomes_a_sweep_once(write: Write, store: Store) -> None:
    rows = [f"m,100,F,full,,,t,loss,minimize,{n},{2 - n / 1000}" for n in (0, 200, 400)]
    table = read_table(write(*rows))
    for _ in range(2):
        write_sweep(store, "outside", table)
        assert store.records("outside") == list(table.records)
        assert store.objective("outside") == table.objective
        assert store.notes("outside") == table.notes
        (info,) = store.sweeps()
        assert (info.state, info.counts) == ("finished", {"complete": 3})
    with pytest.raises(StoreError, match="begun with"):
        write_sweep(store, "outside", read_table(write(*rows[:2])))


def test_an_interrupted_import_is_completed(write: Write, store: Store) -> None:
    rows = [f"m,100,F,full,,,t,loss,minimize,{n},{2 - n / 1000}" for n in (0, 200, 400)]
    table = read_table(write(*rows))

    def cut(records):  # type: ignore[no-untyped-def]
        yield records[0]
        raise StoreError("the line is dead")

    with pytest.raises(StoreError, match="dead"):
        write_sweep(store, "outside", table, cut)
    write_sweep(store, "outside", table)
    assert store.records("outside") == list(table.records)


def test_runs_of_another_experiment_become_a_sweep(store: Store) -> None:
    experiment = store.client.create_experiment("elsewhere")
    for n, loss in ((200, 1.5), (400, 1.25)):
        run = store.client.create_run(experiment)
        for name, value in {"base": "m", "method": "lora", "rank": 8, "examples": n}.items():
            store.client.log_param(run.info.run_id, name, value)
        for name, value in {"eval_loss": loss, "grad_norm": 0.1, "seconds": 12.0}.items():
            store.client.log_metric(run.info.run_id, name, value)
        store.client.set_terminated(run.info.run_id)
    store.client.create_run(experiment)  # still running: not taken
    columns = {"model": "base", "gpu_seconds": "seconds"}
    runs = store.finished_runs("elsewhere")
    table = outside_table(read_runs(runs, "elsewhere", columns, None), columns)
    first, second = (record.result for record in table.records)
    assert (first.spec.model.name, first.spec.method.rank, first.spec.volume) == ("m", 8, 200)
    assert (first.tasks[0].task, second.tasks[0].loss_nats) == ("elsewhere", 1.25)
    assert first.cost.device_seconds == 12.0
    with pytest.raises(InputError, match="did you mean 'elsewhere'"):
        store.finished_runs("elswhere")
    with pytest.raises(InputError, match="no column 'model'"):
        read_runs(runs, "elsewhere", {}, None)
    with pytest.raises(InputError, match="grad_norm"):
        read_runs(runs, "elsewhere", columns, "nosuch")


# -- the public tables ------------------------------------------------------------------------------


@pytest.mark.skipif(not PUBLIC.exists(), reason="the public results are not here")
@pytest.mark.parametrize(
    ("name", "trials", "measure"),
    [
        ("peft_metamath", 63, "score"),
        ("rectified_flan", 450, "loss_nats"),
        ("rectified_wmt19", 450, "loss_nats"),
        ("tinker_tulu3", 529, "loss_nats"),
    ],
)
def test_the_public_tables_are_taken(name: str, trials: int, measure: str) -> None:
    table = read_table(PUBLIC / f"{name}.csv")
    assert len(table.records) == trials
    assert len({record.result.spec.key for record in table.records}) == trials
    assert all(getattr(r.result.tasks[0], measure) is not None for r in table.records)


@pytest.mark.parametrize(
    ("metric", "stated", "option"),
    [("wer", "minimize", None), ("WER", "", None), ("mse", "", None), ("mine", "minimize", None),
     ("mine", "", "minimize")],
)  # fmt: skip
def test_an_error_is_better_the_smaller_and_has_no_limit_above(
    write: Write, metric: str, stated: str, option: Direction | None
) -> None:
    rows = [
        f"m,100,F,{method},,,t,{metric},{stated},{n},{value}"
        for method, n, value in (
            ("none", 0, 140.5), ("full", 200, 1.2), ("lora", 200, 0.9), ("lora", 400, 0)
        )
    ]  # fmt: skip
    table = read_table(write(*rows), direction=option)
    scores = [record.result.tasks[0] for record in table.records]
    assert [score.error for score in scores] == [140.5, 1.2, 0.9, 0.0]
    assert {score.score_name for score in scores} == {metric}
    analysis = Analysis(table.records, table.objective, sweep="x")
    assert analysis.measures == {"t": "error"}
    found = recommend(analysis)
    assert found.choice.label == "m lora, 400 examples"
    assert found.choice.quality.value == 0.0
    assert found.question.startswith("lowest weighted error")


def test_a_metric_of_an_unknown_name_needs_a_direction(write: Write) -> None:
    with pytest.raises(InputError, match=r"metric: found 'mine'.* or by --direction"):
        read_table(write("m,100,F,full,,,t,mine,,200,1.2"))
    with pytest.raises(InputError, match="value: found '-1'; allowed: 0 or more"):
        read_table(write("m,100,F,full,,,t,wer,,200,-1"))


@pytest.mark.parametrize("column", range(3))
def test_a_long_name_is_refused_and_shown_in_short(write: Write, column: int) -> None:
    row = ["m", "100", "F", "full", "", "", "t", "accuracy", "maximize", "200", "0.5"]
    row[(0, 3, 6)[column]] = "x" * 5_000
    with pytest.raises(InputError, match="of 5,000 characters; allowed: at most 200") as error:
        read_table(write(",".join(row)))
    assert len(str(error.value)) < 200

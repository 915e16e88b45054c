"""The README's figures, from a recorded run of the demo: ``python -m tests.readme_figures`` writes them.

A marked block ``<!-- figures:NAME -->`` … ``<!-- /figures -->`` of README.md, README.zh.md or BENCHMARKS.md
holds what :data:`BLOCKS` makes of :data:`RUN`; :data:`RERUN` is the same demo from other seeds.
"""

from __future__ import annotations

import functools
import re
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.architecture_tree import ROOT
from tests.frozen.inputs import RECORDED, read_records
from tracker.decision.analysis import Analysis
from tracker.decision.recommend import recommend
from tracker.decision.recommendation import Candidate, Recommendation
from tracker.metrics import Estimate
from tracker.numbers import count, interval, percent, points, probability, score

FILES = ("README.md", "README.zh.md", "BENCHMARKS.md")
RUN = RECORDED / "readme_demo.jsonl.gz"
RERUN = RECORDED / "readme_demo_rerun.jsonl.gz"
SUITE = "language"
METHODS = {"full": "full", "lora": "LoRA", "p_tuning": "P-tuning"}
_BLOCK = re.compile(r"(<!-- figures:([\w-]+) -->\n).*?(<!-- /figures -->)", flags=re.DOTALL)

Design = tuple[str, str, int]
Written = Callable[[Estimate, Callable[[float | None], str]], str]


class Demo(NamedTuple):
    """A recorded run of the demo: its analysis, its recommendation, and its main design.

    ``design``: the result of each model, method and training-set size on the even mix, at the learning rate
    that the tuning chose.
    """

    analysis: Analysis
    answer: Recommendation
    design: Mapping[Design, Candidate]


@functools.cache
def demo(rerun: bool = False) -> Demo:
    """The recorded run, or the one from other seeds."""
    recorded = read_records(RERUN if rerun else RUN)
    analysis = Analysis(recorded.records, recorded.objective, sweep=recorded.name)
    return Demo(analysis, recommend(analysis), _design(analysis))


def _design(analysis: Analysis) -> dict[Design, Candidate]:
    even = [c for c in analysis.candidates if c.mix == "even" and c.method.name in METHODS]
    largest = max(c.volume for c in even)
    tuned = {(c.model, c.method) for c in even if c.volume == largest}
    return {(c.model, c.method.name, c.volume): c for c in even if (c.model, c.method) in tuned}


# -- the blocks --------------------------------------------------------------------------------------


def table(head: str = "model, method", unit: str = "examples") -> str:
    """Score and forgetting of every model, method and training-set size."""
    design = demo().design
    models = dict.fromkeys(model for model, _, _ in sorted(design, key=_size))
    sizes = sorted({size for _, _, size in design})
    first, *others = (count(size) for size in sizes)
    lines = [
        f"| {head} | {first} {unit} | " + " | ".join(others) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for model in models:
        for method, name in METHODS.items():
            shown = [_score_and_forgetting(design[model, method, size]) for size in sizes]
            lines.append(f"| {model} {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def _size(place: Design) -> int:
    return demo().design[place].counted.parameters


def _score_and_forgetting(candidate: Candidate) -> str:
    lost = candidate.forgetting[SUITE].value
    return f"{percent(candidate.measured_quality, 0)} ({100 * lost:+.0f} %)".replace("-", "−")


class Choice(NamedTuple):
    """The recommendation's figures, written out."""

    method: str
    model: str
    examples: str
    quality: str
    admitted: int
    p_best: str
    rival: str
    gap: str
    tied: bool
    crossing: str
    p_crossing: str


def choice(written: Written) -> Choice:
    """What the recorded run recommends, how sure it is, and where LoRA overtakes full tuning."""
    answer = demo().answer
    taken, rival = answer.choice, answer.runners_up[0]
    crossing = next(c for c in answer.crossovers if (c.model, c.first, c.second) == _PAIR)
    return Choice(
        method=METHODS[taken.method.name],
        model=taken.model,
        examples=count(taken.volume),
        quality=written(taken.quality, score),
        admitted=answer.admitted,
        p_best=probability(answer.p_best),
        rival=METHODS[rival.candidate.method.name],
        gap=written(rival.gap, points),
        tied=not rival.distinguishable,
        crossing=written(crossing.examples, count) if crossing.examples else "–",
        p_crossing=probability(crossing.probability),
    )


_PAIR = ("pg-800k", "full", "lora")


def in_english(value: Estimate, write: Callable[[float | None], str]) -> str:
    """A value with its interval as every page writes it."""
    if value.low is None or value.high is None:
        return write(value.value)
    return f"{write(value.value)} ({interval(value.low, value.high, write)})"


def in_chinese(value: Estimate, write: Callable[[float | None], str]) -> str:
    """The same with Chinese units."""
    text = in_english(value, write).replace(" (80 % interval ", "(80 % 区间 ").replace(")", ")")
    return text.replace(" to ", " 至 ").replace(" points", " 个百分点")


def choice_in_english() -> str:
    """The recommendation as the README says it."""
    c = choice(in_english)
    tie = "within the noise between seeds, which is called a statistical tie"
    ahead = tie if c.tied else "more than noise"
    return (
        f"It recommends {c.method} on {c.model} with {c.examples} examples: predicted score {c.quality}.\n"
        f"With probability {c.p_best} it is the best of the {c.admitted} candidates within the demo's limit\n"
        f"on forgetting. Its lead over {c.rival} tuning is {c.gap}: {ahead}.\n"
        f"On {_PAIR[0]} full tuning is better below about {c.crossing} examples, LoRA above;\n"
        f"the probability that they cross between 200 and 1,600 examples is {c.p_crossing}.\n"
    )


def choice_in_chinese() -> str:
    """The same sentences for README.zh.md."""
    c = choice(in_chinese)
    ahead = "两者在统计上打平" if c.tied else "超出噪声"
    return (
        f"推荐:在 {c.model} 上用 {c.method},取 {c.examples} 条样本。预测得分 {c.quality};\n"
        f"在满足遗忘约束的 {c.admitted} 个候选配置中,它最优的概率为 {c.p_best}。\n"
        f"相对 {c.rival} 微调的领先为 {c.gap},{ahead}。\n"
        f"在 {_PAIR[0]} 上,LoRA 在 200 至 1,600 条样本之间反超 full 微调的概率为 {c.p_crossing},\n"
        f"交叉点在 {c.crossing} 条样本处。\n"
    )


class Moves(NamedTuple):
    """How far the rerun from other seeds lies from the recorded run.

    ``median``, ``most``: of the differences between the scores of :func:`table`, ``most_at_same_rate`` where
    the tuning chose the same learning rate, which it did not for ``other_rates`` of ``pairs`` of model and
    method.
    """

    median: str
    most: str
    most_at_same_rate: str
    other_rates: str
    pairs: str
    noise: str
    choice: str
    quality: str


def moves() -> Moves:
    """The rerun beside the recorded run."""
    first, second = demo(), demo(rerun=True)
    gaps = {
        place: abs(found.measured_quality - second.design[place].measured_quality)
        for place, found in first.design.items()
    }
    same = {p for p in gaps if first.design[p].method == second.design[p].method}
    pairs = {place[:2] for place in gaps}
    taken = second.answer.choice
    return Moves(
        median=points(statistics.median(gaps.values()), signed=False),
        most=points(max(gaps.values()), signed=False),
        most_at_same_rate=points(max(gaps[place] for place in same), signed=False),
        other_rates=str(len(pairs - {place[:2] for place in same})),
        pairs=str(len(pairs)),
        noise=points(first.answer.noise_floor, signed=False),
        choice=f"{METHODS[taken.method.name]}, {taken.model}, {count(taken.volume)}",
        quality=score(taken.quality.value),
    )


def moves_in_english() -> str:
    """How far a rerun moves, as the README says it."""
    m = moves()
    return (
        "A rerun on the same kind of machine gives the same figures to the last digit. A rerun from other\n"
        f"seeds recommended {m.choice} examples at {m.quality}. A score of the table moved by\n"
        f"{m.median} in the median, by {m.most_at_same_rate} at most where tuning chose the same learning\n"
        f"rate again, and by {m.most} at most where it chose another ({m.other_rates} of {m.pairs} pairs of\n"
        "model and method).\n"
        f"The standard deviation between seeds of the best configurations is {m.noise}.\n"
    )


def moves_in_chinese() -> str:
    """The same for README.zh.md."""
    m = Moves(*(text.replace(" points", " 个百分点") for text in moves()))
    return (
        f"在同类机器上重跑,数字完全一致。换一组随机种子重跑,推荐的是 {m.choice} 条样本,得分 {m.quality}。\n"
        f"上表得分的变动:中位数 {m.median};调优选中同一学习率时最大 {m.most_at_same_rate};\n"
        f"选中不同学习率时({m.pairs} 组模型与方法中有 {m.other_rates} 组)最大 {m.most}。\n"
        f"最佳配置不同种子之间的标准差为 {m.noise}。\n"
    )


def cost() -> str:
    """What the recorded run took, for BENCHMARKS.md."""
    m, records = moves(), demo().analysis.records
    seconds = demo().analysis.table.drop_duplicates("key")["device_seconds"].sum()
    return (
        f"- Recorded on 2026-11-30: {len(records)} trials, {seconds:,.0f} s of a core, beside other work.\n"
        f"- From other seeds: {m.choice} examples at {m.quality}; scores moved by {m.median} in the\n"
        f"  median, {m.most} at most; {m.other_rates} of {m.pairs} learning rates differ. Noise: {m.noise}.\n"
    )


BLOCKS: Mapping[str, Callable[[], str]] = {
    "table": table,
    "table-zh": lambda: table("模型与方法", "条样本"),
    "choice": choice_in_english,
    "choice-zh": choice_in_chinese,
    "moves": moves_in_english,
    "moves-zh": moves_in_chinese,
    "demo-cost": cost,
}


def filled(text: str) -> str:
    """*text* with every marked block written anew."""
    return _BLOCK.sub(lambda block: block[1] + BLOCKS[block[2]]() + block[3], text)


def main() -> None:
    """Write the blocks of every file."""
    for name in FILES:
        file = ROOT / name
        file.write_text(filled(file.read_text()))


if __name__ == "__main__":
    main()

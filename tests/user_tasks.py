"""Tasks as a user brings them, made by seeded code: Chinese comments with several topics, slots mostly empty.

``python -m tests.user_tasks FOLDER`` writes both, each into a folder of its own, with train, validation and
test rows.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

#: Topics of a comment on a stay, each with phrases that speak of it.
TOPICS = {
    "交通": ("离地铁站很近", "打车不方便", "停车场太小", "机场巴士很准时"),
    "美食": ("早餐很丰盛", "楼下的面馆好吃", "餐厅的菜太咸", "水果很新鲜"),
    "卫生": ("房间很干净", "浴室有霉味", "床单没有换", "地毯很脏"),
    "服务": ("前台很热情", "等了半小时才入住", "服务员很耐心", "没有人接电话"),
    "价格": ("价格实惠", "有点贵", "性价比高", "押金退得慢"),
}
NO_TOPIC = "无"
_NO_TOPIC = ("下次再说吧", "昨天刚回来", "和朋友一起去的", "今天下雨了")
_OPENINGS = ("", "总的来说，", "这次", "我觉得")

#: Slots of a request, each with values.
SLOTS = {
    "city": ("Paris", "Rome", "Oslo", "New York", "San Jose"),
    "day": ("Monday", "Friday", "tomorrow", "next week"),
    "people": ("two", "3", "four", "one"),
}
NO_SLOT = "none"
_SMALL_TALK = (
    "thanks a lot", "that sounds good", "yes please", "no, that is all", "what else is there?",
    "can you say that again?", "okay then", "I am not sure yet", "good morning", "bye for now",
)  # fmt: skip


def write_topics(folder: Path, rows: int = 300, seed: int = 0) -> None:
    """Comments with the topics they speak of, ``交通`` and ``美食``; one in ten speaks of none."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        if rng.random() < 0.1:
            text, topics = rng.choice(_OPENINGS) + rng.choice(_NO_TOPIC), [NO_TOPIC]
            text += "吧" * rng.randint(0, 4)
        else:
            topics = rng.sample(list(TOPICS), rng.choices((1, 2, 3), (5, 3, 1))[0])
            said = "，".join(rng.choice(TOPICS[topic]) for topic in topics)
            text = f"{rng.choice(_OPENINGS)}{said}。"
        found.setdefault(text, "，".join(topics))
    _write(folder, [{"评论": text, "主题": topics} for text, topics in found.items()], rng)


def write_slots(folder: Path, rows: int = 300, seed: int = 0) -> None:
    """Turns of a dialogue with the slots they fill, ``city: Paris; day: Friday``; 70 % fill none."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    empty = round(0.7 * rows)
    while len(found) < empty:
        turn = " ".join(rng.sample(_SMALL_TALK, rng.choice((1, 2, 3))))
        found.setdefault(turn, NO_SLOT)
    while len(found) < rows:
        filled = {
            slot: rng.choice(SLOTS[slot]) for slot in rng.sample(list(SLOTS), rng.choice((1, 2)))
        }
        words = {"city": "in {}", "day": "on {}", "people": "for {} people"}
        said = " ".join(words[slot].format(value) for slot, value in filled.items())
        turn = f"{rng.choice(('I need a room', 'book a table', 'find me a flight', 'a ticket'))} {said}"
        slots = "; ".join(f"{slot}: {value}" for slot, value in filled.items())
        found.setdefault(turn, slots)
    _write(folder, [{"turn": turn, "slots": slots} for turn, slots in found.items()], rng)


def _write(folder: Path, rows: list[dict[str, str]], rng: random.Random) -> None:
    """Two thirds of *rows* to train on, a sixth each to choose and to report by."""
    folder.mkdir(parents=True, exist_ok=True)
    rng.shuffle(rows)
    first, second = len(rows) * 4 // 6, len(rows) * 5 // 6
    parts = {"train": rows[:first], "validation": rows[first:second], "test": rows[second:]}
    for split, part in parts.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write_topics(Path(sys.argv[1]) / "topics")
    write_slots(Path(sys.argv[1]) / "slots")

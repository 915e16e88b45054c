"""Layouts of rows: chat, ShareGPT, prompt and completion, Alpaca, preference pairs → turns and the answer.

Roles are mapped to ``ROLES``: a developer's turn is a system turn, a function's or an observation a tool's.
Calls of tools keep what a model's own chat template needs to write them.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tracker.validation import options, unknown

ROLES = ("system", "user", "assistant", "tool")
#: Roles as other programs write them.
_OTHER_ROLES = {
    **dict.fromkeys(("human",), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("function", "observation", "function_response", "tool_response"), "tool"),
    "developer": "system",
}
_CALLS = ("function_call", "tool_call")
#: What a template may need of a tool's turn beside its content.
_TOOL_FIELDS = ("tool_call_id", "name")
ONLY_ANSWERED = """jq -c 'select(.{field}[-1] | (.role // .from) as $r | ["assistant", "gpt"] | index($r))' \
FILE > NEW"""


class Turn(NamedTuple):
    """One chat turn; ``role`` is one of ``ROLES``.

    ``fields``: JSON of what else its template is given (``tool_calls``, ``tool_call_id``, ``name``), empty
    without. ``weight``: of its loss, as the row says it; ``None`` where it does not.
    """

    role: str
    content: str
    fields: str = ""
    weight: float | None = None


class Conversation(NamedTuple):
    """A row: the turns before the answer, the answer's, and JSON of the ``tools`` that may be called."""

    messages: tuple[Turn, ...]
    answer: Turn
    tools: str = ""


class RowError(Exception):
    """A row that its layout cannot read."""


class Reading:
    """How a task's rows are read.

    *whole*: mappings and lists are canonical JSON, and a row's ``history``, ``system``, ``tools`` and earlier
    turns of a completion are read; earlier releases wrote ``key: value; key: value`` and left those out.
    ``differs``: whether a row read so far is another one for it.
    """

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.differs = False

    def text(self, value: Any) -> str:
        """A field's value as text."""
        if isinstance(value, dict | list):
            self.differs = True
            return canonical_json(value) if self.whole else _listed(value)
        return plain_text(value)

    def added(self, fields: dict[str, Any], name: str) -> Any:
        """A field that earlier releases did not read; ``None`` where it has nothing."""
        value = fields.get(name)
        if value in (None, "", [], {}):
            return None
        self.differs = True
        return value if self.whole else None


class Layout(NamedTuple):
    """A layout of rows; ``needed``: fields by which it is known. ``note``: what a user should know of it."""

    name: str
    needed: tuple[str, ...]
    read: Callable[[dict[str, Any], Reading], Conversation]
    note: str = ""


def with_answer(fields: dict[str, Any], stand_in: str) -> tuple[dict[str, Any], bool]:
    """A row's *fields* with *stand_in* for an answer that it does not have, and whether it has one."""
    for name in ("messages", "conversations", "conversation"):
        turns = _opened(fields.get(name))
        if _is_chat(turns) and isinstance(turns[-1], dict):
            last = turns[-1]
            said = str(last.get("role", last.get("from")))
            if _OTHER_ROLES.get(said, said) == "assistant" or "chosen" in fields:
                return fields, True
            keys = ("from", "value") if "from" in last else ("role", "content")
            answer = dict(zip(keys, ("assistant", stand_in), strict=True))
            return fields | {name: [*turns, answer]}, False
    for name, answered in (("prompt", "completion"), ("instruction", "output")):
        if name in fields and "chosen" not in fields:
            lacks = is_blank(fields.get(answered))
            return (fields | {answered: stand_in} if lacks else fields), not lacks
    return fields, True


def is_blank(value: Any) -> bool:
    """Whether a field holds nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def layout_of(fields: dict[str, Any]) -> Layout | None:
    """The layout of rows with these *fields*; ``None`` where they need a template."""
    fitting = [layout for layout in LAYOUTS if set(layout.needed) <= fields.keys()]
    if PAIRS in fitting and not _is_answered(fields):
        return PAIRS
    return fitting[0] if fitting else None


def field_of(fields: dict[str, Any], name: str) -> Any:
    """The value of a field, which a row must have."""
    if name not in fields:
        raise RowError(f"no field {name!r}: {unknown(name, fields)}")
    if fields[name] is None:
        raise RowError(f"found null in field {name!r}; allowed: a value")
    return fields[name]


def turns_of(system: str | None, *user: str | None) -> tuple[Turn, ...]:
    """A system turn, where there is one, and a user turn of the lines that there are."""
    content = "\n".join(part for part in user if part)
    return (*([Turn("system", system)] if system else []), Turn("user", content))


def canonical_json(value: Any) -> str:
    """JSON of a mapping or a list: keys sorted, letters of every script as they are."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def plain_text(value: Any) -> str:
    """A single value as text."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise RowError(f"found {json.dumps(value)} within a field; allowed: a value")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value: Any) -> str:
    """``key: value; key: value`` for mappings, ``a, b`` for lists, as in earlier releases."""
    if isinstance(value, dict):
        # Parquet gives every row every key of a mapping, null where the row has none
        present = {key: item for key, item in value.items() if item is not None}
        return "; ".join(f"{key}: {_listed(item)}" for key, item in present.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_listed, value)) or "none"
    return plain_text(value)


# -- the layouts -------------------------------------------------------------------------------------


def _chat_layout(field: str) -> Callable[[dict[str, Any], Reading], Conversation]:
    def read(fields: dict[str, Any], reading: Reading) -> Conversation:
        turns = _chat(field_of(fields, field), field, reading)
        return _conversation(_with_system(turns, fields, reading), fields, reading, field)

    return read


def _completion(fields: dict[str, Any], reading: Reading) -> Conversation:
    prompt, completion = field_of(fields, "prompt"), field_of(fields, "completion")
    if fields.get("label") is False:
        raise RowError(
            "found label false, a completion that is no answer; allowed: answers; to leave such rows out: "
            "jq -c 'select(.label)' FILE > NEW"
        )
    chat = _is_chat(prompt)
    before = _chat(prompt, "prompt", reading) if chat else turns_of(None, reading.text(prompt))
    before = _with_system([*before], fields, reading)
    if not _is_chat(completion):
        answer = Turn("assistant", reading.text(completion))
        return Conversation(tuple(before), answer, _tools(fields, reading))
    turns = _chat(completion, "completion", reading)
    earlier = turns[:-1] if reading.whole else []
    reading.differs |= len(turns) > 1
    return _conversation([*before, *earlier, turns[-1]], fields, reading, "completion")


def _alpaca(fields: dict[str, Any], reading: Reading) -> Conversation:
    answer = Turn("assistant", reading.text(field_of(fields, "output")))
    return Conversation(_alpaca_prompt(fields, reading), answer, _tools(fields, reading))


def _alpaca_prompt(fields: dict[str, Any], reading: Reading) -> tuple[Turn, ...]:
    optional = (fields.get(name) for name in ("system", "input"))
    system, text = (None if value is None else reading.text(value) for value in optional)
    question = turns_of(system, reading.text(field_of(fields, "instruction")), text)
    history = _opened(reading.added(fields, "history"))
    if history is None:
        return question
    if not isinstance(history, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in history
    ):
        raise RowError("found a history of other things; allowed: a list of [question, answer]")
    past = [
        Turn(role, reading.text(text))
        for pair in history
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return (*question[:-1], *past, question[-1])


def _pair(fields: dict[str, Any], reading: Reading) -> Conversation:
    """A preference pair: what was chosen is the answer, what was rejected is not read."""
    chosen = _opened(field_of(fields, "chosen"))
    question = _question(fields, reading)
    if isinstance(chosen, dict):
        chosen = [chosen]
    if _is_chat(chosen):
        turns = _chat(chosen, "chosen", reading)
        whole = turns if turns[0].role != "assistant" else [*question, *turns]
        if question and question[0].role == "system" and whole[0].role != "system":
            whole = [question[0], *whole]
        return _conversation(whole, fields, reading, "chosen")
    text = reading.text(chosen)
    if not question:
        return _conversation(_spoken(text), fields, reading, "chosen")
    prompt = fields.get("prompt")
    if isinstance(prompt, str) and text.startswith(prompt) and text != prompt:
        text = text[len(prompt) :].lstrip()
    return Conversation(tuple(question), Turn("assistant", text), _tools(fields, reading))


def _question(fields: dict[str, Any], reading: Reading) -> list[Turn]:
    """The prompt of a preference pair; empty where it is within what was chosen."""
    for field in ("messages", "conversations", "prompt"):
        value = _opened(fields.get(field))
        if _is_chat(value):
            return _with_system(_chat(value, field, reading), fields, reading)
    if fields.get("instruction") is not None:
        return list(_alpaca_prompt(fields, reading))
    for field in ("prompt", "question"):
        if fields.get(field) is not None:
            text = reading.text(fields[field])
            turns = _spoken(text) if _SPEAKER.match(text) else turns_of(None, text)
            turns = [turn for turn in turns if turn.role != "assistant" or turn.content.strip()]
            return _with_system(turns, fields, reading)
    return []


#: Who speaks in one text, as Anthropic's sets write it.
_SPEAKER = re.compile(r"\s*(Human|Assistant):")


def _spoken(text: str) -> list[Turn]:
    """Turns of a text of ``Human:`` and ``Assistant:`` paragraphs."""
    pieces = re.split(r"(?:^|\n\n)(Human|Assistant): ?", text.strip())
    if len(pieces) < 3 or pieces[0]:
        raise RowError(
            "found chosen without a prompt; allowed: prompt beside it, or a text of `Human: …` and "
            "`Assistant: …` paragraphs"
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    named = zip(pieces[1::2], pieces[2::2], strict=True)
    return [Turn(roles[who], said.strip()) for who, said in named]


PAIRS = Layout(
    "preference pairs",
    ("chosen", "rejected"),
    _pair,
    "preference pairs: chosen is the answer; rejected is not used",
)
LAYOUTS = (
    Layout("chat", ("messages",), _chat_layout("messages")),
    Layout("prompt and completion", ("prompt", "completion"), _completion),
    Layout("Alpaca", ("instruction", "output"), _alpaca),
    Layout("ShareGPT", ("conversations",), _chat_layout("conversations")),
    Layout("chat", ("conversation",), _chat_layout("conversation")),
    PAIRS,
)


# -- turns -------------------------------------------------------------------------------------------


def _is_chat(value: Any) -> bool:
    value = _opened(value)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _is_answered(fields: dict[str, Any]) -> bool:
    """Whether a row is a conversation that ends with its answer, whatever else it has."""
    turns = _opened(fields.get("messages", fields.get("conversations")))
    last = turns[-1] if isinstance(turns, list) and turns else None
    role = last.get("role", last.get("from")) if isinstance(last, dict) else None
    return _OTHER_ROLES.get(str(role), role) == "assistant"


def _opened(value: Any) -> Any:
    """*value*, or the list or mapping that its text is in JSON or in Python, as cells of tables hold it."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(value)
            except (ValueError, RecursionError, SyntaxError, MemoryError):
                continue
    return value


def _conversation(
    turns: list[Turn], fields: dict[str, Any], reading: Reading, field: str
) -> Conversation:
    *before, last = turns
    if last.role != "assistant":
        leave_out = ONLY_ANSWERED.replace("{field}", field)
        raise RowError(
            f"found a last turn of {last.role!r}; allowed: assistant, the answer; to leave such rows out: "
            f"{leave_out}"
        )
    return Conversation(tuple(before), last, _tools(fields, reading))


def _with_system(turns: list[Turn], fields: dict[str, Any], reading: Reading) -> list[Turn]:
    """*turns* behind the row's own ``system``, where they have none."""
    if turns and turns[0].role == "system":
        return turns
    system = reading.added(fields, "system")
    return [Turn("system", reading.text(system)), *turns] if system is not None else turns


def _tools(fields: dict[str, Any], reading: Reading) -> str:
    """JSON of the row's tools, in the form that chat templates take."""
    tools = _opened(reading.added(fields, "tools") or reading.added(fields, "functions"))
    if tools in (None, []):
        return ""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowError("found tools of another form; allowed: a list of functions, or its JSON")
    named = [t if "function" in t else {"type": "function", "function": t} for t in tools]
    return json.dumps(named, ensure_ascii=False)


def _chat(turns: Any, field: str, reading: Reading) -> list[Turn]:
    turns = _opened(turns)
    if not isinstance(turns, list) or not turns:
        raise RowError(f"found no turns in {field!r}; allowed: a list of role and content")
    return [_turn(turn, field, reading) for turn in turns]


def _turn(turn: Any, field: str, reading: Reading) -> Turn:
    if not isinstance(turn, dict):
        raise RowError(f"found a turn without text in {field!r}; allowed: role and content")
    said = str(turn.get("role", turn.get("from")))
    role = _OTHER_ROLES.get(said, said)
    if role not in ROLES:
        raise RowError(f"role in {field!r}: {unknown(said, ROLES)}")
    content = turn.get("content", turn.get("value"))
    weight = _weight(turn.get("weight"))
    if said in _CALLS:
        return Turn(role, "", _calls_json(_parsed_calls(content)), weight)
    fields_of_tool: dict[str, Any] = {}
    calls = reading.added(turn, "tool_calls") or reading.added(turn, "function_call")
    if role == "assistant" and calls is not None:
        text = _content(content, field, role) if content is not None else ""
        return Turn(role, text, _calls_json(_parsed_calls(calls)), weight)
    if role == "tool":
        fields_of_tool = {name: turn[name] for name in _TOOL_FIELDS if turn.get(name) is not None}
    fields = json.dumps(fields_of_tool, ensure_ascii=False) if fields_of_tool else ""
    return Turn(role, _content(content, field, role), fields, weight)


def _content(content: Any, field: str, role: str) -> str:
    """Text of a turn: its parts joined; what an assistant or a tool says in a mapping as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict) and role in ("assistant", "tool"):
        return canonical_json(content)
    if not isinstance(content, list) or not content:
        raise RowError(f"found a turn without text in {field!r}; allowed: role and content")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get("text", part.get("content")) if isinstance(part, dict) else part
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            raise RowError(
                f"found a part of type {str(kind)!r} in {field!r}; allowed: text; to leave such rows out: "
                f"jq -c 'select([.{field}[] | .content | arrays | .[].type | . != \"text\"] | any | not)' "
                "FILE > NEW"
            )
        texts.append(text)
    return "".join(texts)


def _weight(weight: Any) -> float | None:
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        raise RowError(f"found weight {weight!r} of a turn; allowed: 0, 1 or a number above 0")
    return float(weight)


def _parsed_calls(calls: Any) -> list[dict[str, Any]]:
    """Calls of tools as name and arguments, with the id where a row gives one."""
    calls = _opened(calls)
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowError("found a call of a tool without its name; allowed: name and arguments")
        arguments = _opened(function.get("arguments", function.get("parameters", {})))
        named = {"name": function["name"], "arguments": arguments}
        id_ = {"id": call["id"]} if call.get("id") is not None else {}
        found.append({**id_, "type": "function", "function": named})
    return found


def _calls_json(calls: list[dict[str, Any]]) -> str:
    if not calls:
        raise RowError(f"found no call of a tool; allowed: {options(('name', 'arguments'))}")
    return json.dumps({"tool_calls": calls}, ensure_ascii=False)


def calls_text(turn: Turn) -> str:
    """What a turn says, as text that depends on no model: its content, then JSON of the calls in it."""
    if not turn.fields:
        return turn.content
    calls = [call["function"] for call in json.loads(turn.fields).get("tool_calls", [])]
    said = canonical_json(calls[0] if len(calls) == 1 else calls) if calls else ""
    return "\n".join(filter(None, (turn.content, said)))

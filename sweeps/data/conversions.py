"""Conversions of files that are not read: the line, for a terminal, that makes a readable one of each."""

from __future__ import annotations

import shlex
from pathlib import Path


def conversion(
    path: Path,
    *,
    key: str = "",
    columns: bool = False,
    objects: bool = False,
    literals: bool = False,
) -> str:
    """The line that makes a readable file of the one at *path*, after ``; to convert it: ``; else nothing.

    *key*: of the rows in one JSON object; *columns*: an object of columns; *objects*: one behind the other;
    *literals*: mappings as Python writes them.
    """
    python, suffix, arguments = "", ".jsonl", ""
    if key:
        python, arguments = _FROM_KEY, f" {shlex.quote(key)}"
    elif literals:
        python = _PYTHON_ROWS
    elif columns:
        python = _FROM_COLUMNS
    elif objects:
        return query(path, ".")
    elif path.suffix.lower() in _UNPACKED:
        return f"; to convert it: {_UNPACKED[path.suffix.lower()]} {shlex.quote(path.name)}"
    elif path.suffix.lower() in _CONVERTED:
        python, suffix = _CONVERTED[path.suffix.lower()]
    if not python:
        return ""
    name, new = path.name, f"{path.stem}{suffix}"
    new = f"rows_{new}" if new == name else new
    return (
        f'; to convert it: python -c "{python}" {shlex.quote(name)} {shlex.quote(new)}{arguments}'
    )


def query(path: Path, program: str) -> str:
    """The line that converts JSON by a jq *program*, after ``; to convert it: ``."""
    new = shlex.quote(f"rows_{path.name.partition('.')[0]}.jsonl")
    return f"; to convert it: jq -c {shlex.quote(program)} {shlex.quote(path.name)} > {new}"


#: Of SQuAD's articles, each of paragraphs with questions: a row a question.
SQUAD = (
    ".data[].paragraphs[] | .context as $c | .qas[] | "
    '{context: $c, question, answer: (.answers[0].text // "none")}'
)

_WRITE = (
    "open(sys.argv[2], 'w', encoding='utf-8').writelines("
    "json.dumps(r, ensure_ascii=False) + chr(10) for r in {rows})"
)
_READ = "open(sys.argv[1], encoding='utf-8-sig')"
_FROM_KEY = "import json, sys; " + _WRITE.format(rows=f"json.load({_READ})[sys.argv[3]]")
_TABLE = ".to_json(sys.argv[2], orient='records', lines=True, force_ascii=False)"
_PYTHON_ROWS = "import ast, json, sys; " + _WRITE.format(
    rows=f"(ast.literal_eval(t) for t in {_READ} if t.strip())"
)
_FROM_COLUMNS = f"import sys, pandas; pandas.read_json(sys.argv[1]){_TABLE}"
#: Python and the suffix of what it writes, by the suffix of what it reads.
_CONVERTED = {
    ".xlsx": ("import sys, pandas; pandas.read_excel(sys.argv[1])" + _TABLE, ".jsonl"),
    ".xls": ("import sys, pandas; pandas.read_excel(sys.argv[1])" + _TABLE, ".jsonl"),
    ".feather": ("import sys, pandas; pandas.read_feather(sys.argv[1])" + _TABLE, ".jsonl"),
    ".orc": ("import sys, pandas; pandas.read_orc(sys.argv[1])" + _TABLE, ".jsonl"),
    ".pkl": ("import sys, pandas; pandas.read_pickle(sys.argv[1])" + _TABLE, ".jsonl"),
    ".pickle": ("import sys, pandas; pandas.read_pickle(sys.argv[1])" + _TABLE, ".jsonl"),
    ".xml": ("import sys, pandas; pandas.read_xml(sys.argv[1], parser='etree')" + _TABLE, ".jsonl"),
    ".arrow": (
        "import sys, pyarrow as a, pyarrow.parquet as p; "
        "p.write_table(a.ipc.open_stream(sys.argv[1]).read_all(), sys.argv[2])",
        ".parquet",
    ),
    ".yaml": (
        "import json, sys, yaml; " + _WRITE.format(rows=f"yaml.safe_load({_READ})"),
        ".jsonl",
    ),
    ".yml": ("import json, sys, yaml; " + _WRITE.format(rows=f"yaml.safe_load({_READ})"), ".jsonl"),
    ".txt": (
        "import json, sys; "
        + _WRITE.format(rows="({'text': t.rstrip()} for t in " + _READ + " if t.strip())"),
        ".jsonl",
    ),
}
_UNPACKED = {
    ".zip": "unzip",
    ".zst": "zstd -d",
    ".bz2": "bunzip2 -k",
    ".xz": "unxz -k",
    ".tar": "tar -xf",
    ".tgz": "tar -xf",
}

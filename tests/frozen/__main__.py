"""``python -m tests.frozen [SECTION …]``: compare with what was frozen; ``--write`` freezes it anew.

``--write`` is for changes that are meant: the difference of the file is then a part of the change.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.frozen import collected, inputs
from tests.frozen.difference import difference_text, differences


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.frozen", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"of {', '.join(collected.SECTIONS)}")
    parser.add_argument("--write", action="store_true", help="Freeze the answers as they are now.")
    parser.add_argument("--shown", type=int, default=20, help="Differences to print of each.")
    options = parser.parse_args()
    names = options.section or [
        name for name in collected.SECTIONS if name != collected.PUBLIC or inputs.public()
    ]
    kept = collected.read() if collected.FILE.exists() else {}
    found, changed = {}, 0
    for name in names:
        begun = time.process_time()
        now = found[name] = collected.section(name)
        seconds = time.process_time() - begun
        was = kept.get(name)
        different = [] if was is None else [
            *differences(was.data, now.data), *differences(was.text, now.text, "text")
        ]  # fmt: skip
        changed += len(different)
        state = "new" if was is None else difference_text(different, options.shown)
        print(f"{name} ({seconds:.1f} s of a core): {state}", flush=True)
    if options.write:
        collected.write(found)
        print(f"wrote {collected.FILE.name} ({collected.FILE.stat().st_size / 1e3:.0f} kB)")
        return 0
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())

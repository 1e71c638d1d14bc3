"""Writes the table of docs/reliability.md from docs/results/faults.json; `make faults` runs it."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, RESULT = ROOT / "docs/reliability.md", ROOT / "docs/results/faults.json"
BEGIN, END = "<!-- faults begin -->\n", "<!-- faults end -->\n"


def main() -> None:
    """Put the table between the marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + table(json.loads(RESULT.read_text())) + END + after)


def table(result: dict[str, object]) -> str:
    """The faults as a Markdown table, with what was measured besides."""
    faults = result["faults"]
    assert isinstance(faults, list)
    lines = [
        f"{result['tests']} tests, {result['failed tests']} failed. {result['machine']}, "
        f"{result['date']}.\n",
        "| Fault | Next fused pair after, s | Besides |",
        "|---|---|---|",
    ]
    for fault in faults:
        figures = {k: v for k, v in fault.items() if k not in ("fault", "seconds")}
        besides = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        lines.append(f"| {fault['fault']} | {fault.get('seconds', '')} | {besides} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

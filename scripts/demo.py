"""The demonstration: from the bundled tables to a report, by the commands that a user would type.

    python scripts/demo.py [--all]

Checks and fits three patients (all twelve with --all), judges the fits, forecasts the plans of data/plans.txt, and writes
demo/report.html. A fit that is marked (exit code 3) does not stop it, but is said; anything else does, with its code.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLANNED = ("P01", "P02", "P03")
HORIZON = 1080
MARKED = 3
TABLES = ("data/burden.csv", "--treatments", "data/treatments.csv", "--observable", "psa")


def plans(path: Path) -> list[str]:
    """The plans of a file: one a line, without comments and blank lines."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def commands(everyone: bool) -> list[list[str]]:
    """The commands in their order, each as the words after ``persist``."""
    asked = [] if everyone else [word for name in PLANNED for word in ("--patient", name)]
    wanted = [word for plan in plans(ROOT / "data" / "plans.txt") for word in ("--plan", plan)]
    out = ["demo/fit.nc", "demo/forecast.nc"]
    return [
        ["check", *TABLES, *asked],
        ["fit", *TABLES, *asked, "-o", out[0], "--force"],
        ["diagnose", out[0]],
        ["forecast", out[0], *wanted, "--horizon", str(HORIZON), "-o", out[1], "--force"],
        ["report", *out, "-o", "demo/report.html", "--force"],
    ]


def run(words: list[str]) -> int:
    """Show a command as one types it, run it by this Python, and return its exit code."""
    print(f"\n$ {shown(['persist', *words])}", flush=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "persist", *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False
    ).returncode


def shown(words: list[str]) -> str:
    """Words as a command line that can be typed."""
    return " ".join(typed(word) for word in words)


def typed(word: str) -> str:
    """A word in double quotes where it needs some and these do, else as the shell's own rules have it."""
    quoted = shlex.quote(word)
    return quoted if quoted == word or any(sign in word for sign in '"$`\\!') else f'"{word}"'


def verdicts(path: Path) -> list[str]:
    """The sentence on each patient and plan, from the report's JSON twin."""
    patients = json.loads(path.read_text(encoding="utf-8"))["forecast"]["patients"]
    return [f"{name}: {said}" for name, one in patients.items() for said in one["sentences"].values()]


def main(arguments: list[str]) -> int:
    """Run all of it; the exit code of the first command that fails, else 0."""
    parser = argparse.ArgumentParser(description="From the bundled tables to demo/report.html.")
    parser.add_argument("--all", action="store_true", help="all twelve patients, not only the three planted ones")
    everyone = parser.parse_args(arguments).all
    began = time.perf_counter()
    (ROOT / "demo").mkdir(exist_ok=True)
    for words in commands(everyone):
        code = run(words)
        if code == MARKED:
            print(f"\n(persist {words[0]} left with code 3: a fit is marked; the demonstration goes on and says so.)")
        elif code:
            print(f"persist {words[0]} left with code {code}: the demonstration ends here", file=sys.stderr)
            return code
    print("\n" + "\n".join(verdicts(ROOT / "demo" / "report.json")))
    minutes, seconds = divmod(round(time.perf_counter() - began), 60)
    print(f"\nReport: {ROOT / 'demo' / 'report.html'}\nTime: {minutes} min {seconds} s. Not for clinical use.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

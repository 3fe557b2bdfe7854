"""`python -m tests.frameworks [NAME ...]`: the tests of each framework in an environment of its own.

One after the other, each from the wheel and removed when it is done. The exit code is 1 if an environment
cannot be made, an example or a test fails, or a test is skipped: what it was made for is there.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from .environment import Outcome, StepFailed, build_wheel, examine, frameworks


def main() -> int:
    """Examine the frameworks that are named, or all."""
    known = frameworks()
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all, {', '.join(known)}")
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep the environments here, for the next time"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"there is no {', '.join(unknown)}; there is {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that environments are removed
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="corrinit-frameworks-") as scratch:
        try:
            wheel = build_wheel(Path(scratch))
        except StepFailed:
            return 1
        for name in options.names or known:
            if options.keep:
                (place := options.keep.resolve() / name).mkdir(parents=True, exist_ok=True)
                outcomes.append(examine(known[name], wheel, place))
            else:
                with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=scratch) as place:
                    outcomes.append(examine(known[name], wheel, Path(place)))
            sys.stdout.write(f"{sentence(outcomes[-1])}\n")
            sys.stdout.flush()
    sys.stdout.write(table(outcomes))
    return int(any(outcome.complaints for outcome in outcomes))


def sentence(outcome: Outcome) -> str:
    """What came of a framework, in one line."""
    verdict = ", ".join(outcome.complaints) or "well"
    return (
        f"{outcome.framework.name}: {verdict}; {outcome.passed} tests, {outcome.examples} examples passed; "
        f"{outcome.install_seconds:.0f} s to install, {outcome.test_seconds:.0f} to test; {outcome.versions}"
    )


def table(outcomes: list[Outcome]) -> str:
    """All outcomes as a table in Markdown."""
    lines = ["", "| framework | outcome | passed | examples | install, s | tests, s | versions |"]
    lines.append("| :-- | :-- | --: | --: | --: | --: | :-- |")
    for outcome in outcomes:
        cells = (
            outcome.framework.name,
            ", ".join(outcome.complaints) or "well",
            f"{outcome.passed}",
            f"{outcome.examples}",
            f"{outcome.install_seconds:.0f}",
            f"{outcome.test_seconds:.0f}",
            outcome.versions,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; the environments are removed")

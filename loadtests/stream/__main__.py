"""``make bench-stream``: measure the field, write JSON, show a table."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from loadtests.stream.bench import Wanted, bench

RESULTS = Path(__file__).resolve().parents[1] / "results" / "stream"


def main() -> None:
    """Read what is wanted; measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="contenders, by comma: fused,topics,bare,relay,...")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured, in turn")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each rate is held")
    parser.add_argument("--hold", type=float, default=20.0, help="how long the backlog must stay bounded")
    parser.add_argument("--parts", default="drain,fixed,half,sustained", help="which measurements, by comma")
    parser.add_argument("--fixed", type=float, default=500.0, help="the rate of the part 'fixed', events a second")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json", help="where the JSON goes; merged into")
    parser.add_argument("--fresh", action="store_true", help="forget what the JSON holds")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="instead: hold --fixed this long")
    asked = parser.parse_args()
    parts = tuple(part.strip() for part in asked.parts.split(","))
    wanted = Wanted(
        only=asked.only,
        rounds=asked.rounds,
        seconds=asked.seconds,
        hold_s=asked.hold,
        parts=parts,
        fixed_per_s=asked.fixed,
        out=asked.out,
        fresh=asked.fresh,
        soak_s=asked.soak,
    )
    with tempfile.TemporaryDirectory(prefix="bench-broker-") as folder:
        try:
            asyncio.run(bench(wanted, Path(folder)))
        except asyncio.CancelledError:
            raise SystemExit("told to end: what had been measured is written") from None


if __name__ == "__main__":
    main()

"""Kill whatever a study and a run live in, at random, and count what is lost: ``python -m benchmarks.chaos --kills 100``."""

from __future__ import annotations

import argparse
import datetime
import random
import sys
from pathlib import Path

from benchmarks.cuts import cut_links, why_not
from benchmarks.document import with_sections
from benchmarks.kills import TRIALS, Counts, one_round
from benchmarks.table import Table

DOCUMENT = Path("docs/benchmarks.md")
KILLS_A_ROUND = 10


def chaos(seed: int, kills: int, a_round: int = KILLS_A_ROUND) -> Counts:
    """Kill so many times, in rounds on 1, 2 and 3 workers."""
    counts, number = Counts(), 0
    while counts.kills.total() < kills:
        dice = random.Random(f"{seed}/{number}")
        wanted = min(a_round, kills - counts.kills.total())
        print(f"round {number}: {1 + number % 3} workers, {wanted} kills", flush=True)
        counts.add(one_round(dice, 1 + number % 3, wanted, daemon=number % 3 == 2))
        number += 1
    return counts


def table(counts: Counts, seed: int) -> Table:
    question = (
        f"A study of {TRIALS} trials and a run with restarts on embedded clusters of 1, 2 and 3 workers, in {counts.rounds} "
        f"rounds (`make chaos SEED={seed} KILLS={counts.kills.total()}`). SIGKILL at random; what is killed with the daemon "
        "goes on with `--resume`. What notebook, record and journal say is compared; left behind are processes (their ports "
        "with them), folders and shared memory."
    )
    killed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.kills.items()))
    rows: list[list[object]] = [["kills", f"{counts.kills.total()} ({killed})"]]
    rows += [[kind, len(stories)] for kind, stories in counts.faults.items()]
    return Table("Random kills", question, ["what", "count"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description="Kill at random, cut links, and count what is lost."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    asked = parser.parse_args()
    counts = chaos(asked.seed, asked.kills)
    tables, went_well = [table(counts, asked.seed)], not any(counts.faults.values())
    if missing := why_not():
        print(f"links are not cut: {missing}")
    else:
        cuts, cuts_went_well = cut_links(asked.seed)
        tables.append(cuts)
        went_well = went_well and cuts_went_well
    today = datetime.datetime.now(datetime.UTC).date()
    sections = [made.markdown(today) for made in tables]
    print("\n\n".join(sections))
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(with_sections(text, text[: text.index("\n## ")], sections))
    sys.exit(not went_well)


if __name__ == "__main__":
    main()

"""``make fuzz``: run many random programs, go on where it stopped, say what failed and by which few lines.

``python -m fuzz --seed 1 --count 1000``; ``--show SEED`` prints a program, ``--only SEED`` runs it.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=1000, help="how many programs")
    parser.add_argument("--jobs", type=int, default=1, help="programs at once")
    parser.add_argument("--shrinks", type=int, default=20, help="symptoms of which one failure is shrunk")
    parser.add_argument("--show", type=int, help="print the program of a seed")
    parser.add_argument("--only", type=int, help="run and shrink the program of a seed")
    given = parser.parse_args()
    from fuzz.recipe import draw, write

    if given.show is not None:
        print(write(draw(given.show)))  # noqa: T201
        return 0
    if given.only is not None:
        return _one(given.only)
    return _many(given)


def _one(seed: int) -> int:
    from fuzz.recipe import draw, write
    from fuzz.shrinking import judged, shrunk

    verdict = judged(draw(seed))
    say(seed, verdict)
    if verdict.failed:
        say_program(seed, write(shrunk(draw(seed), verdict)))
    return verdict.failed


def _many(given: argparse.Namespace) -> int:
    journal = ROOT / ".fuzz" / f"{_code()}.jsonl"
    journal.parent.mkdir(exist_ok=True)
    done = _read(journal)
    todo = [seed for seed in range(given.seed, given.seed + given.count) if seed not in done]
    say_line(f"{len(todo)} programs to run, {given.count - len(todo)} known from {journal}")
    pids = []
    for job in range(given.jobs):
        pid = os.fork()
        if pid == 0:
            _work(todo[job :: given.jobs], journal)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    done = {seed: line for seed, line in _read(journal).items() if given.seed <= seed < given.seed + given.count}
    return _summary(done, given.shrinks)


def _work(seeds: list[int], journal: Path) -> None:
    from fuzz.recipe import draw
    from fuzz.shrinking import judged

    for seed in seeds:
        begun = time.monotonic()
        verdict = judged(draw(seed))
        line = {"seed": seed, "kind": verdict.kind, "symptom": verdict.symptom, "why": verdict.why[:300]}
        line |= {"differing": dict(list(verdict.differing.items())[:6]), "warned": verdict.warned[:3]}
        with journal.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if verdict.failed:
            say(seed, verdict, time.monotonic() - begun)


def _summary(done: dict[int, dict], shrinks: int) -> int:
    from fuzz.recipe import draw, write
    from fuzz.shrinking import judged, shrunk

    failures = {seed: line for seed, line in done.items() if line["kind"] not in ("equal", "refused", "named", "discarded")}
    first = {}
    for seed, line in failures.items():
        first.setdefault(line["symptom"], seed)
    symptoms = Counter(line["symptom"] for line in failures.values())
    for symptom, count in symptoms.most_common(shrinks):
        seed = first[symptom]
        say_line(f"\n--- {count} times: {symptom}")
        verdict = judged(draw(seed))
        if verdict.failed:
            say_program(seed, write(shrunk(draw(seed), verdict)))
    for kind in ("refused", "discarded"):
        for why, count in Counter(line["why"][:110] for line in done.values() if line["kind"] == kind).most_common(12):
            say_line(f"{kind:>10} {count:4d} times: {why}")
    counts = Counter(line["kind"] for line in done.values())
    say_line("\n" + "  ".join(f"{kind} {counts[kind]}" for kind in ("equal", "refused", "named", "discarded")))
    say_line(f"failed {len(failures)} (" + ", ".join(f"{k} {counts[k]}" for k in ("silent", "crash", "needless")) + ")")
    say_line("seeds of failures: " + " ".join(map(str, sorted(failures))))
    return bool(failures)


def _code() -> str:
    """Return a digest of what a verdict depends on, so that a journal of other code is not taken for this one's."""
    digest = hashlib.blake2b(digest_size=6)
    for folder in (ROOT / "hops_magic" / "frameworks", Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(journal: Path) -> dict[int, dict]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return {line["seed"]: line for line in map(json.loads, lines)}


def say(seed: int, verdict, seconds: float = 0.0) -> None:
    """Print one verdict."""
    worst = sorted(verdict.differing.items(), key=lambda each: -each[1])[:4]
    told = ", ".join(f"{name} {by:.1e}" for name, by in worst)
    say_line(f"{seed:6d} {verdict.kind} {verdict.why[:200]} {told} {verdict.warned[:2] or ''} {seconds:.1f} s")


def say_program(seed: int, text: str) -> None:
    """Print a program that fails."""
    say_line(f"# seed {seed}: python -m fuzz --only {seed}\n{text}")


def say_line(line: str) -> None:
    """Print at once: a run is followed while it goes on."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

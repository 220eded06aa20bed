"""Compares Ferry's trainer with an independent reference in PyTorch. Exits with 1 if a difference exceeds its bound."""

import argparse
import json
import sys
import time
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent.parent / "python")]

import torch  # noqa: E402
from augmentations import augmentations  # noqa: E402
from ferry import Ferry  # noqa: E402
from models import stored_models  # noqa: E402
from networks import one_step  # noqa: E402
from trajectories import optimisers, resnet18, trajectories  # noqa: E402

PARTS = {
    "views": augmentations,
    "adam": optimisers,
    "model": stored_models,
    "resnet18": resnet18,
    "steps": trajectories,
    "networks": one_step,
}


def main():
    parser = argparse.ArgumentParser(prog="scripts/parity/run", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of the table")
    parser.add_argument("--only", action="append", choices=PARTS, help="run only this part; can be repeated")
    parser.add_argument("--lab", default="target/release/ferry-lab", help="the program that runs Ferry's code")
    arguments = parser.parse_args()
    # Ferry and the reference run at the same time, each on one thread, so that sums have a fixed order.
    torch.set_num_threads(1)
    started, rows = time.monotonic(), []

    def say(row):
        rows.append(row)
        print(row.line(), file=sys.stderr if arguments.json else sys.stdout, flush=True)

    ferry = Ferry(arguments.lab)
    for part in arguments.only or PARTS:
        PARTS[part](ferry, say)
    wrong = [row for row in rows if not row.ok]
    seconds = round(time.monotonic() - started)
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "seconds": seconds, "rows": [row.facts() for row in rows]}))
    else:
        print(f"parity: {len(rows) - len(wrong)} of {len(rows)} within their bounds, {seconds} s, torch {torch.__version__}")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())

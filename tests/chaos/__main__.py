"""`python -m tests.chaos`: the proof, for as long as somebody has time. Exit status 1 if a promise was broken."""

# ruff: noqa: T201 - printing is its job

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import docker_engine, mosquitto
from tests.chaos import report
from tests.chaos.rounds import Rounds, Terms
from tests.chaos.verdict import Verdict
from tests.chaos.world import World
from tests.chaos.world_local import LocalWorld

DESCRIPTION = """\
Drive many simulations through a real broker and a real MSO while both are killed, stopped, cut off and lied to, and
judge from outside whether anything was lost."""

EXAMPLES = """\
examples:
  ci/chaos.sh --minutes 2 --seed 7
  ci/chaos.sh --minutes 30 --seed 1 --json figures.json
  ci/chaos.sh --minutes 10 --seed 3 --backplane kubernetes      (needs MSO_TEST_KUBECONFIG, MSO_TEST_CLUSTER_COMMAND)
  ci/chaos.sh --minutes 5 --seed 5 --backplane docker           (needs MSO_TEST_DOCKER=yes)
  ci/chaos.sh --round 4 --seed 7                                (one round of a run, by itself)
  ci/chaos.sh --minutes 2 --seed 7 --without disk,clock,BROKER_KILL

exit status: 0 all was as promised, 1 something was not, 2 it cannot be run here
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if not mosquitto.available():
        print(f"chaos: {mosquitto.INSTALL_HINT}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # so that all that was started is ended
    directory = options.directory or Path(tempfile.mkdtemp(prefix="mso-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    hostility = options.hostility or (80.0 if options.backplane == "kubernetes" else 40.0)
    terms = Terms(options.seed, hostility, frozenset(options.without.split(",") if options.without else ()))
    with _world(options.backplane, directory) as world:
        print(f"seed {terms.seed}, {world.backplane}, rounds of {hostility:g} s and a rest, in {directory}")
        for why in world.left_out:
            print(f"left out: {why}")
        verdict = _play(world, terms, options)
    print(report.table(verdict))
    if options.json:
        facts = {"seed": options.seed, "backplane": options.backplane, **verdict.figures()}
        options.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    if verdict.good and not options.directory:
        shutil.rmtree(directory, ignore_errors=True)
    elif not verdict.good:
        print(f"everything that was written down: {directory}")
    return 0 if verdict.good else 1


def _play(world: World, terms: Terms, options: argparse.Namespace) -> Verdict:
    total = Verdict()
    rounds = Rounds(world, terms)
    until = time.monotonic() + 60 * options.minutes
    number = options.round or 1
    while True:
        one = rounds.play(number)
        print(report.line(one), flush=True)
        total.add(one.verdict)
        if not one.verdict.good:
            again = report.command(terms, number, options.backplane)
            print(report.account_of_failure(one, terms, again, world.logs()), flush=True)
            if options.stop_early:
                break
        number += 1
        if options.round or time.monotonic() >= until:
            break
    return total


def _world(backplane: str, directory: Path) -> World:
    if backplane == "local":
        return LocalWorld(directory)
    # What they need is not everywhere.
    if backplane == "docker":
        from tests.chaos.world_docker import DockerWorld

        _demand(docker_engine.HINT if not docker_engine.available() else "")
        return DockerWorld(directory)
    from tests.chaos.world_cluster import ClusterWorld, trouble

    _demand(trouble())
    return ClusterWorld(directory)


def _demand(missing: str) -> None:
    if missing:
        print(f"chaos: {missing}", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ci/chaos.sh",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="rounds are begun for so long (2)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same run (1)")
    parser.add_argument(
        "--backplane", choices=("local", "docker", "kubernetes"), default="local", help="where models run (local)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--round", type=int, metavar="N", help="only this round of the run")
    parser.add_argument("--hostility", type=float, metavar="S", help="seconds of faults in a round (40, with pods 80)")
    parser.add_argument(
        "--without", default="", metavar="WHAT", help="leave out faults, by lane or name; or same-bytes"
    )
    parser.add_argument("--stop-early", action="store_true", help="end with the first round that is not as promised")
    parser.add_argument("--directory", type=Path, help="keep everything there, whatever comes of it")
    return parser


if __name__ == "__main__":
    sys.exit(main())

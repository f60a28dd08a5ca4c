"""Reads mutants of every kind, each in a process of its own, and counts how that ends.

``PYTHONPATH=.:tests/makers python tests/attack/fuzz.py --count 1500 FOLDER`` prints a table and
keeps in FOLDER what ended as it must not. The processes are forked from one that has everything
loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import chain, cycle
from pathlib import Path

from mutants import mutant
from seeds import all_seeds

from monai_ddfm.apps.cohort.cases import Selection
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.profiles import read_profile
from monai_ddfm.apps.label.pairing import PairingRules
from monai_ddfm.data.readers import PICTURE_SUFFIXES, read_picture, read_volume
from monai_ddfm.data.transform_files import read_transform
from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors import network_from_file, prior_info
from monai_ddfm.transforms.landmark_files import read_landmarks

MOST_BYTES = 2 * 2**30
MOST_SECONDS = 60
_FINE = ("result", "sentence")
_IN_A_CHILD = re.compile(r".*\.(tfm|h5|mat)|(jpeg.*|rle)\.dcm")
"""Read by a further process, which loads SimpleITK or a decoder anew."""


@dataclass(frozen=True)
class Ending:
    """How reading one mutant has ended.

    Attributes:
        kind: name of the file that it was made from.
        seed: of the mutant.
        how: "result", "sentence", "traceback", "no sentence", "signal N" or "too long".
        seconds: it took.
        mebibytes: it held at most.
    """

    kind: str
    seed: int
    how: str
    seconds: float
    mebibytes: int


def read(path: Path) -> None:
    """Read a file as the program would."""
    ending = path.suffix.lower()
    if ending in PICTURE_SUFFIXES:
        read_picture(path)
    elif ending in (".tfm", ".h5", ".mat"):
        read_transform(path)
    elif ending == ".csv":
        find_cases(path, Selection(), labels={})
    elif ending == ".yaml":
        read_profile(path)
    elif ending == ".pt":
        prior_info(path)
        network_from_file(path)
    elif path.name == "landmarks.json":
        read_landmarks(path)
    elif path.name == "pairs.json":
        PairingRules.read(pairs=path)
    elif ending == ".json":
        network_from_file(path.with_suffix(".pt"))
    else:
        read_volume(path, modality="PET", allow_unknown_geometry=True)


def _in_child(path: Path, log: Path) -> None:
    """Read a file, say how it went by the exit status, and never return."""
    status = 70
    try:
        sys.stdout.flush()
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, held + MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(MOST_SECONDS)
        warnings.simplefilter("ignore")
        try:
            read(path)
            status = 0
        except InputError as error:
            told = str(error)
            status = 1 if told and "\n" not in told and len(told) < 2000 else 71
            os.write(2, f"{told}\n".encode("utf-8", "replace"))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def end_of(path: Path, kind: str, seed: int, log: Path) -> Ending:
    """Read one file in a process of its own."""
    begin = time.monotonic()
    child = os.fork()
    if not child:
        _in_child(path, log)
    _, status, used = os.wait4(child, 0)
    seconds = round(time.monotonic() - begin, 3)
    how = {0: "result", 1: "sentence", 70: "traceback", 71: "no sentence"}
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        told = "too long" if number == signal.SIGALRM else f"signal {number}"
    else:
        told = how.get(os.WEXITSTATUS(status), f"status {os.WEXITSTATUS(status)}")
    return Ending(kind, seed, told, seconds, used.ru_maxrss // 1024)


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 1 if anything ended as it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true", help="what takes long, once")
    chosen = parser.parse_args(arguments)
    folder, kept = chosen.folder.absolute(), chosen.folder.absolute() / "kept"
    for made in (folder / "seeds", folder / "work", kept):
        made.mkdir(parents=True, exist_ok=True)
    seeds = [path for path in all_seeds(folder / "seeds") if chosen.only in path.name]
    for path in (folder / "seeds").iterdir():
        (folder / "work" / path.name).write_bytes(path.read_bytes())
    endings = []
    again = [path for path in seeds if not (chosen.quick and _IN_A_CHILD.fullmatch(path.name))]
    order = chain(seeds, cycle(again))
    for number, source in zip(range(chosen.count), order, strict=False):
        seed = chosen.seed * 1_000_000 + number
        target = folder / "work" / source.name
        target.write_bytes(mutant(source.read_bytes(), seed))
        ending = end_of(target, source.name, seed, folder / "log")
        endings.append(ending)
        if ending.how not in _FINE or ending.mebibytes > MOST_BYTES // 2**20:
            (kept / f"{seed}-{source.name}").write_bytes(target.read_bytes())
            print(ending, flush=True)
        target.write_bytes(source.read_bytes())
    counts = Counter(ending.how for ending in endings)
    summary = {
        "mutants": len(endings),
        "kinds": len(seeds),
        "endings": dict(counts),
        "longest_s": max(ending.seconds for ending in endings),
        "most_mebibytes": max(ending.mebibytes for ending in endings),
    }
    (folder / "endings.json").write_text(
        json.dumps({"summary": summary, "endings": [asdict(one) for one in endings]})
    )
    print(json.dumps(summary))
    return int(set(counts) > set(_FINE) or bool(set(counts) - set(_FINE)))


if __name__ == "__main__":
    sys.exit(main())

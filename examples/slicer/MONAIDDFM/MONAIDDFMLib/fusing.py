"""Two volumes in files become a fusion in files, without Slicer, Qt or monai_ddfm in this Python.

Slicer's Python has other versions of the libraries that monai_ddfm needs, so the work is done
elsewhere: by the command ``monai-ddfm`` of another environment in a process of its own
(`InstalledCommand`), or by a label server (`LabelServer`). Both tell which options there are, and
start a `Run`, which is looked at from time to time: Slicer's window must not wait.

Slicer 5.8 has Python 3.9; the standard library is all that is used, and `requests`, which comes
with Slicer, for the server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence  # noqa: UP035 - Python 3.9

__all__ = ["FusionError", "InstalledCommand", "LabelServer", "Outcome", "Run"]

MODALITIES = ("PET", "CT", "SPECT", "US", "MR")
_NOT_ASKED = ("modality", "device", "format", "deidentify", "dry_run")
"""Common options that have a place of their own, or none, in a viewer."""
_STAGES = {"found": 0.02, "registering": 0.05, "fusing": 0.3, "writing": 0.9}
"""How far a run is when it says so; the sampling goes from `fusing` to `writing`."""
_GRACE_S = 10.0
"""So long a run that was cancelled may take to end by itself."""
_PERCENT = re.compile(r"^fusing: (\d+) % of the sampling")


class FusionError(RuntimeError):
    """A fusion has failed; the message is one sentence for the user."""


@dataclass(frozen=True)
class Outcome:
    """What a run has left.

    Attributes:
        fused: the fusion, in color where there is one.
        moving: the registered PET, CT or SPECT on the MRI's grid; None from a server.
        warnings: what needs looking at.
    """

    fused: Path
    moving: Path | None = None
    warnings: Sequence[str] = ()


@dataclass
class Run:
    """A fusion that is under way.

    Attributes:
        progress: 0 to 1; it only grows. None if nothing is known of it.
        doing: what is done, in the words of the program.
    """

    progress: float | None = 0.0
    doing: str = "starting"
    cancelled: bool = False
    _said: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None
    _outcome: Outcome | None = None
    _failure: str = ""

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self._thread is not None and not self._thread.is_alive()

    def outcome(self) -> Outcome:
        """Return what a finished run has left.

        Raises:
            FusionError: it has failed or was cancelled.
        """
        if self.cancelled:
            raise FusionError("cancelled; nothing was written.")
        if self._outcome is None:
            raise FusionError(self._failure or "the fusion has not finished.")
        return self._outcome

    def cancel(self) -> None:
        """End it soon; what has been written is removed by the program itself."""
        self.cancelled = True

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the end: for scripts; a window looks at `finished` instead."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _start(self, work: Any) -> None:
        def run() -> None:
            try:
                self._outcome = work()
                self.progress, self.doing = 1.0, "finished"
            except FusionError as error:
                self._failure = str(error)
            except Exception as error:  # shown to the user, who may report it
                self._failure = f"{type(error).__name__}: {error}"

        self._thread = threading.Thread(target=run, name="monai-ddfm", daemon=True)
        self._thread.start()

    def _hear(self, line: str) -> None:
        """Take in what the program says on its error output."""
        self._said.append(line)
        word = re.split(r"[ :]", line, maxsplit=1)[0]
        percent = _PERCENT.match(line)
        at = _STAGES.get(word)
        if percent:
            span = _STAGES["writing"] - _STAGES["fusing"]
            at = _STAGES["fusing"] + span * int(percent[1]) / 100
        if at is not None:
            self.progress, self.doing = max(self.progress or 0.0, at), line


class _CommandRun(Run):
    process: subprocess.Popen[str] | None = None

    def cancel(self) -> None:
        super().cancel()
        if self.process is not None and self.process.poll() is None:
            # As Ctrl-C does it: the program then removes what it has begun.
            self.process.send_signal(signal.SIGINT if os.name != "nt" else signal.CTRL_BREAK_EVENT)
            # Whoever started Slicer may have had it ignore Ctrl-C, and its processes with it.
            clock = threading.Timer(_GRACE_S, self.process.kill)
            clock.daemon = True
            clock.start()


class InstalledCommand:
    """The command ``monai-ddfm`` of an environment beside Slicer's.

    Args:
        program: its path, or "" to look for it: in MONAI_DDFM, then on the path.
        env: environment for it. Slicer's own has paths of Slicer's libraries, with which another
            Python does not start: give that from before (``slicer.util.startupEnvironment()``).

    Raises:
        FusionError: there is none.
    """

    def __init__(self, program: str = "", *, env: Mapping[str, str] | None = None) -> None:
        self.env = dict(os.environ if env is None else env)
        name = program.strip() or self.env.get("MONAI_DDFM", "") or "monai-ddfm"
        found = shutil.which(name, path=self.env.get("PATH"))
        if found is None:
            raise FusionError(
                f"{name} is not a program here; install monai-ddfm in an environment of its own "
                "and give the path of its command."
            )
        self.program = found

    def options(self) -> list[dict[str, Any]]:
        """Return the common options, each as the package declares it.

        Raises:
            FusionError: the program does not answer.
        """
        done = self._run("fuse", "--help-json")
        if done.returncode != 0:
            raise FusionError(f"{self.program} does not tell its options ({_last(done.stderr)}).")
        return [o for o in json.loads(done.stdout) if o["common"] and o["name"] not in _NOT_ASKED]

    def fuse(
        self,
        fixed: Path,
        moving: Path,
        *,
        modality: str,
        folder: Path,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a fusion.

        Args:
            fixed: file of the MRI.
            moving: file of the other volume.
            modality: of `moving`.
            folder: for the results.
            options: values by name; None and "" are the program's defaults.
        """
        call = ["fuse", "--fixed", str(fixed), "--moving", str(moving)]
        call += ["--modality", modality, "--output-dir", str(folder), *_flags(options or {})]
        run = _CommandRun()
        run.process = subprocess.Popen(
            [self.program, *call],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            **_apart(),
        )
        run._start(lambda: _followed(run, folder))
        return run

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            **_apart(),
        )


class LabelServer:
    """A server that ``monai-ddfm label`` runs, here or elsewhere.

    Args:
        address: as in http://127.0.0.1:8000.
        token: if it asks for one.
    """

    def __init__(self, address: str, *, token: str = "") -> None:
        self.address = address.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def options(self) -> list[dict[str, Any]]:
        """Return what the server offers, in the form of `InstalledCommand.options`.

        Raises:
            FusionError: it does not answer, or offers no fusion.
        """
        answer = self._ask("get", "/info/", timeout=30)
        config = answer.json().get("models", {}).get("ddfm", {}).get("config")
        if config is None:
            raise FusionError(f"{self.address} offers no fusion; start it by monai-ddfm label.")
        own = ("result", "result_extension", "store", "image2", "session2", *_NOT_ASKED)
        return [_offered(name, value) for name, value in config.items() if name not in own]

    def fuse(
        self,
        fixed: Path,
        moving: Path,
        *,
        modality: str,
        folder: Path,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a fusion, as `InstalledCommand.fuse`; nothing is added to the server's store."""
        run = Run(progress=None, doing="waiting for the server")
        given = {n: v for n, v in (options or {}).items() if v is not None and v != ""}
        run._start(lambda: self._fuse(fixed, moving, modality, folder, given))
        return run

    def _fuse(
        self,
        fixed: Path,
        moving: Path,
        modality: str,
        folder: Path,
        options: Mapping[str, Any],
    ) -> Outcome:
        sessions: list[str] = []
        try:
            for path in (fixed, moving):
                with path.open("rb") as opened:
                    sent = self._ask("put", "/session/", files={"files": (path.name, opened)})
                sessions.append(sent.json()["session_id"])
            result = "luminance" if modality in ("CT", "US", "MR") else "color"
            asked = {"modality": modality, "session2": sessions[1], "result": result, **options}
            answer = self._ask(
                "post",
                "/infer/ddfm",
                params={"session_id": sessions[0], "output": "image"},
                data={"params": json.dumps({**asked, "result_extension": ".nrrd"})},
            )
        finally:
            for session in sessions:
                self._ask("delete", f"/session/{session}", timeout=60)
        folder.mkdir(parents=True, exist_ok=True)
        fused = folder / "fused.nrrd"
        fused.write_bytes(answer.content)
        return Outcome(fused)

    def _ask(self, method: str, place: str, *, timeout: float = 3600, **more: Any) -> Any:
        import requests  # noqa: PLC0415 - comes with Slicer

        try:
            answer = requests.request(
                method, f"{self.address}{place}", headers=self.headers, timeout=timeout, **more
            )
        except requests.RequestException as error:
            raise FusionError(
                f"{self.address} does not answer ({type(error).__name__}); start monai-ddfm label "
                "there, or mend the address."
            ) from error
        if answer.status_code >= 400:
            try:
                told = answer.json().get("detail", answer.text)
            except ValueError:
                told = answer.text
            raise FusionError(str(told))
        return answer


def _followed(run: _CommandRun, folder: Path) -> Outcome:
    """Read what the program says until it ends."""
    process = run.process
    assert process is not None
    assert process.stderr is not None
    assert process.stdout is not None
    for line in process.stderr:
        run._hear(line.rstrip())
    process.stdout.read()
    if process.wait() != 0:
        errors = [line for line in run._said if line.startswith("error: ")]
        raise FusionError(errors[-1].removeprefix("error: ") if errors else _last_of(run._said))
    named = (folder / name for name in ("fused_rgb.nii.gz", "fused.nii.gz"))
    fused = next((path for path in named if path.is_file()), None)
    if fused is None:
        raise FusionError(f"{folder} holds no fusion, though the program ended well.")
    warnings = [line[9:] for line in run._said if line.startswith("warning: ")]
    registered = folder / "moving_registered.nii.gz"
    return Outcome(fused, registered if registered.is_file() else None, warnings)


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Return options as the command line takes them."""
    flags = []
    for name, value in options.items():
        if value is None or value == "" or value is False:
            continue
        flag = f"--{name.replace('_', '-')}"
        flags.append(flag if value is True else f"{flag}={value}")
    return flags


def _offered(name: str, value: Any) -> dict[str, Any]:
    """Return an option of a server as a declaration: a list is a choice, the default first."""
    words = [str(word) for word in value] if isinstance(value, list) else []
    default = words[0] if words else value
    kinds = {bool: "switch", int: "whole number", float: "number"}
    return {
        "name": name,
        "flag": f"--{name.replace('_', '-')}",
        "help": name.replace("_", " "),
        "kind": kinds.get(type(default), "text"),
        "words": words,
        "only_words": bool(words),
        "default": default,
        "unset": "none",
        "unit": "",
    }


def _apart() -> dict[str, Any]:
    """Have a process in a group of its own, so that an interrupt reaches it alone."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _last(text: str) -> str:
    return _last_of(text.splitlines())


def _last_of(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "no word")

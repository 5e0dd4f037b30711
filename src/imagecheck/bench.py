"""What a check may ask for. Everything is made when it is first asked for, and once."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from imagecheck.engine.boots import PLAIN, Boot
from imagecheck.engine.container import Booted, Document, ProbeError, run_probe
from imagecheck.engine.contents import Contents, read_export
from imagecheck.engine.image import Image
from imagecheck.engine.lab import Lab
from imagecheck.engine.pair import run_pair
from imagecheck.engine.service import SECONDS_FOR_A_SURPRISE, Service, ends_within
from imagecheck.settings import Settings

T = TypeVar("T")


class Blocked(Exception):  # noqa: N818 - no error of the image's: the check is skipped
    """A check cannot be judged because something else, which has a check of its own, is not there."""


class Bench(Protocol):
    """The evidence that checks judge. Unit tests hand in recorded documents instead of a live image."""

    @property
    def image(self) -> Image: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def host_gpus(self) -> int: ...

    @property
    def python(self) -> str | None: ...

    @property
    def contents(self) -> Contents: ...

    @property
    def service(self) -> Service: ...

    def probe(self, name: str, *arguments: str, boot: Boot = PLAIN) -> Document: ...

    def torch_probe(self, name: str, *arguments: str, boot: Boot = PLAIN) -> Document: ...

    def pair(self) -> Mapping[str, Document]: ...

    def ends_on_a_terminal(self) -> bool: ...


class LiveBench:
    """The bench on which a real image lies."""

    def __init__(self, lab: Lab, settings: Settings, host_gpus: int) -> None:
        self.settings = settings
        self.host_gpus = host_gpus
        self._lab = lab
        self._boots: dict[Boot, Booted | ProbeError] = {}
        self._documents: dict[tuple[str, ...], Document | ProbeError] = {}
        self._python: str | None = None
        self._searched = False
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="contents")
        self._contents: Future[Contents] | None = None
        self._service: Service | None = None
        self._pair: Mapping[str, Document] | ProbeError | None = None

    @property
    def image(self) -> Image:
        return self._lab.image

    @property
    def kept(self) -> tuple[str, ...]:
        """After the end: the commands that remove what --keep left."""
        return self._lab.kept

    @property
    def python(self) -> str | None:
        """The interpreter that has torch; None where the image has none."""
        if not self._searched:
            self._python = self._lab.find_python()
            if self._python is None:  # nowhere usual: now every file of the image is worth a look
                self._python = self._lab.find_python(sorted(_interpreters(self.contents)))
            self._searched = True
        return self._python

    def read_ahead(self) -> None:
        """Start reading the image's layers now, beside the probes."""
        if self._contents is None:
            image = self._lab.client.images.get(self.image.id)
            self._contents = self._reader.submit(lambda: read_export(image.save()))

    @property
    def contents(self) -> Contents:
        """Every layer's files. Raises ProbeError where the export cannot be read."""
        self.read_ahead()
        assert self._contents is not None
        try:
            return self._contents.result()
        except (tarfile.TarError, ValueError, KeyError) as error:
            raise ProbeError(f"the image's layers cannot be read: {error}") from error

    @property
    def service(self) -> Service:
        """The image started as its maker meant it to be; waited for until it answers or ends."""
        if self._service is None:
            self._service = Service.start(self._lab, self.settings)
        return self._service

    def ends_on_a_terminal(self) -> bool:
        """Whether the image's own command ends soon on a terminal as well."""
        return ends_within(self._lab.serve({}, (), tty=True), SECONDS_FOR_A_SURPRISE)

    def probe(self, name: str, *arguments: str, boot: Boot = PLAIN) -> Document:
        """The document of a probe in a container isolated as `boot` says.

        Raises:
            Blocked: the image has no Python with torch.
            ProbeError: the probe gave no document.
        """
        key = (boot.name, name, *arguments)
        if key not in self._documents:
            try:
                booted = self._booted(boot)
                self._documents[key] = run_probe(
                    booted, self._torch_python(), name, arguments, timeout=self.settings.timeout
                )
            except ProbeError as error:
                self._documents[key] = error
                self._drop_if_ended(boot)
        return _or_raise(self._documents[key])

    def torch_probe(self, name: str, *arguments: str, boot: Boot = PLAIN) -> Document:
        """`probe`, for what needs torch to import; where it does not, stack.imports says so and the rest is skipped."""
        if not self.probe("stack")["torch"]["imported"]:
            raise Blocked("torch does not import: see stack.imports")
        return self.probe(name, *arguments, boot=boot)

    def pair(self) -> Mapping[str, Document]:
        """What two containers on one network, `torchrun` across them, saw: documents by host name."""
        if not self.probe("stack")["torch"]["imported"]:
            raise Blocked("torch does not import: see stack.imports")
        if self._pair is None:
            try:
                self._pair = run_pair(self._lab, self._torch_python(), timeout=self.settings.timeout)
            except ProbeError as error:
                self._pair = error
        return _or_raise(self._pair)

    def facts(self) -> dict[str, object]:
        """The versions seen, for the reports; empty where nothing could be seen."""
        stack = self._documents.get((PLAIN.name, "stack"))
        if not isinstance(stack, Mapping):
            return {}
        family = {name: stack[name].get("version") for name in ("torch", "torchvision", "torchaudio")}
        return {"python": stack["python"], **family, "pins": stack["pins"], **stack["facts"]}

    def curves(self) -> dict[str, list[float]]:
        """The losses of the trainings that ran, by task."""
        documents = (document for key, document in self._documents.items() if key[1] == "training")
        return {
            name: task["losses"]
            for document in documents
            if isinstance(document, Mapping)
            for name, task in document.items()
            if "losses" in task
        }

    def close(self) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _torch_python(self) -> str:
        if self.python is None:
            raise Blocked("no Python in the image has torch: see stack.imports")
        return self.python

    def _booted(self, boot: Boot) -> Booted:
        if boot is not PLAIN:
            self._booted(PLAIN)  # finds out first whether the entry point runs commands
        if boot not in self._boots:
            try:
                self._boots[boot] = self._lab.boot(boot, self._torch_python())
            except ProbeError as error:
                self._boots[boot] = error
        return _or_raise(self._boots[boot])

    def _drop_if_ended(self, boot: Boot) -> None:
        """A container that a probe killed must not fail the probes after it: they get a new one."""
        booted = self._boots.get(boot)
        if isinstance(booted, Booted):
            booted.container.reload()
            if booted.container.status != "running":
                del self._boots[boot]


def _or_raise(outcome: T | ProbeError) -> T:
    if isinstance(outcome, ProbeError):
        raise outcome
    return outcome


def _interpreters(contents: Contents) -> set[str]:
    """Every path of the image that looks like a Python to run."""
    return {
        f"/{path}"
        for path, entry in contents.visible.items()
        if entry.kind in ("file", "link") and path.rpartition("/")[0].endswith("bin") and _is_python(path)
    }


def _is_python(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in ("python", "python3") or (name.startswith("python3.") and name[8:].isdigit())

"""A bench of recorded documents: checks judge data, so that a machine without GPUs can hold their judgement to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Blocked
from imagecheck.engine.boots import PLAIN, Boot
from imagecheck.engine.container import Document
from imagecheck.engine.contents import Contents
from imagecheck.engine.image import Image
from imagecheck.engine.service import Service
from imagecheck.settings import Settings


def image(**facts: Any) -> Image:
    inspection = {"Id": "sha256:" + "a" * 64, "Size": 5 * 1024**3, "Architecture": "amd64", "Config": facts}
    return Image.from_inspection("somebody/torch:1", inspection)


def card(capability: tuple[int, int] = (9, 0), **facts: Any) -> dict[str, Any]:
    whole = {"name": "H100", "capability": list(capability), "free": 80 << 30, "total": 80 << 30, "answer": 64.0**3}
    return whole | facts


def gpu_document(*cards: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "driver": "580.65.06",
        "devices": [f"nvidia{number}" for number in range(len(cards))],
        "cuda": "13.0",
        "driver_cuda": 13000,
        "arch_list": ["sm_75", "sm_80", "sm_90", "sm_120"],
        "cards": list(cards),
    } | facts


class RecordedBench:
    """Answers from `documents`, by probe's name; torch imports if the stack document says so."""

    def __init__(
        self,
        documents: Mapping[str, Document],
        *,
        host_gpus: int = 0,
        settings: Settings | None = None,
        contents: Contents | None = None,
    ):
        self.image = image()
        self.settings = settings or Settings()
        self.host_gpus = host_gpus
        self.python: str | None = "/usr/bin/python3"
        self._documents = documents
        self._contents = contents

    @property
    def contents(self) -> Contents:
        assert self._contents is not None
        return self._contents

    @property
    def service(self) -> Service:
        raise NotImplementedError

    def probe(self, name: str, *_arguments: str, boot: Boot = PLAIN) -> Document:
        assert boot
        return self._documents[name]

    def torch_probe(self, name: str, *arguments: str, boot: Boot = PLAIN) -> Document:
        if not self.probe("stack")["torch"]["imported"]:
            raise Blocked("torch does not import")
        return self.probe(name, *arguments, boot=boot)

    def pair(self) -> Mapping[str, Document]:
        raise NotImplementedError

    def ends_on_a_terminal(self) -> bool:
        raise NotImplementedError


IMPORTED: Document = {"torch": {"imported": True, "present": True}, "facts": {"cuda_available": True}, "pins": {}}

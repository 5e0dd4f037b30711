"""The NVIDIA driver, asked through its own management library (libnvidia-ml.so.1).

torch takes two seconds to import and keeps a CUDA context; NVML answers in milliseconds, keeps nothing, and is what
tells "no GPU" from "a GPU that was lost". https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SONAME = "libnvidia-ml.so.1"

# nvmlReturn_t, those the doctor has a remedy for
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
GPU_IS_LOST = 15
VERSION_MISMATCH = 18
UNKNOWN = 999

_TEXT_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE; the driver's version needs 80


class NvmlError(Exception):
    """NVML said no: `code` is its nvmlReturn_t, the message its own text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver names it, CUDA_VISIBLE_DEVICES or not."""

    index: int
    name: str
    memory_bytes: int | None  # None where it shares the host's memory (GB10, Jetson), or is a slice
    compute_capability: tuple[int, int]
    is_slice: bool = False  # MIG: this process may not ask for the whole card's memory


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Nvml:
    """A session with the driver: `with Nvml() as nvml: nvml.gpus()`.

    Raises NvmlError where there is no driver (LIBRARY_NOT_FOUND) or it cannot be talked to.
    """

    def __init__(self, library: str = SONAME) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise NvmlError(LIBRARY_NOT_FOUND, str(error)) from error

    def __enter__(self) -> Self:
        self._call("nvmlInit_v2")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call("nvmlShutdown")

    def driver_version(self) -> str:
        """As in "580.95.05"."""
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self._call("nvmlSystemGetDriverVersion", text, ctypes.c_uint(_TEXT_BYTES))
        return text.value.decode()

    def gpus(self) -> tuple[tuple[Gpu, ...], NvmlError | None]:
        """Those that answer, in the driver's order, and the first refusal: a GPU that was lost is still counted."""
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        answering: list[Gpu] = []
        refusal = None
        for index in range(count.value):
            try:
                answering.append(self._gpu(index))
            except NvmlError as error:
                refusal = refusal or error
        return tuple(answering), refusal

    def _gpu(self, index: int) -> Gpu:
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        name = ctypes.create_string_buffer(_TEXT_BYTES)
        self._call("nvmlDeviceGetName", handle, name, ctypes.c_uint(_TEXT_BYTES))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
        capability = (major.value, minor.value)
        memory = _Memory()
        try:
            self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        except NvmlError as error:
            return Gpu(index, name.value.decode(), None, capability, is_slice=error.code == NO_PERMISSION)
        return Gpu(index, name.value.decode(), int(memory.total), capability)

    def _call(self, function: str, *arguments: object) -> None:
        code: int = getattr(self._library, function)(*arguments)
        if code != 0:
            describe = self._library.nvmlErrorString
            describe.restype = ctypes.c_char_p
            raise NvmlError(code, (describe(code) or b"").decode())

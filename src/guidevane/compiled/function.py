"""A function that runs as machine code: how that is kept, brought in and called."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, get_args, get_type_hints

import cffi
import llvmlite
import llvmlite.binding as llvm
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FunctionType

P = ParamSpec("P")
R = TypeVar("R")

_IN_C = {
    "float64": "double",
    "int64": "int64_t",
    "int32": "int32_t",
    "int16": "int16_t",
    "bool": "uint8_t",
    "none": "void",
}
_NUMBERS = {float: "float64", int: "int64", bool: "int64", type(None): "none"}
_FFI = cffi.FFI()
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Taken:
    """What one argument is: a number, or an array of them. ``kind``: the name of its type, numba's and numpy's."""

    kind: str
    array: bool

    @classmethod
    def of(cls, annotation: object) -> Taken:
        """Read an annotation: ``float``, ``int``, ``bool``, ``None`` or ``npt.NDArray[...]``."""
        arguments = get_args(annotation)
        if arguments:
            return cls(np.dtype(get_args(arguments[1])[0]).name, array=True)
        return cls(_NUMBERS[cast("type", annotation)], array=False)

    @property
    def in_c(self) -> str:
        """Return how it is handed over: an array as where it begins, and how long it is."""
        return f"{_IN_C[self.kind]} *, int64_t" if self.array else _IN_C[self.kind]


def compiled(function: Callable[P, R]) -> Compiled[P, R]:
    """Have a function run as machine code, read or made when it is first called, outside the interpreter's lock.

    ``fastmath`` stays off: two runs of one trace give the same bytes.
    """
    return Compiled(function)


class Compiled(Generic[P, R]):
    """A function that runs as machine code."""

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.function = cast("FunctionType", function)
        self._call: Callable[..., Any] | None = None
        self._engine: llvm.ExecutionEngine | None = None

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """Call it. Raises ``TypeError`` for an array that is not what the annotation says."""
        call = self._call or self._load()
        return cast("R", call(*arguments, **named))

    @property
    def takes(self) -> dict[str, Taken]:
        """What it takes, by name, and returns (``return``)."""
        return {name: Taken.of(hint) for name, hint in get_type_hints(self.function).items()}

    @property
    def helpers(self) -> dict[str, Compiled[..., Any]]:
        """The compiled functions that it names."""
        names = ((name, self.function.__globals__.get(name)) for name in self.function.__code__.co_names)
        return {name: one for name, one in names if isinstance(one, Compiled)}

    def _load(self) -> Callable[..., Any]:
        with _LOADING:
            if self._call is None:
                takes = self.takes
                returns = takes.pop("return")
                self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target())
                self._engine.add_object_file(llvm.ObjectFileRef.from_data(self._machine_code()))
                self._engine.finalize_object()
                address = self._engine.get_function_address(self.function.__name__)
                in_c = ", ".join(each.in_c for each in takes.values())
                self._call = _caller(takes, _FFI.cast(f"{returns.in_c} (*)({in_c})", address))
            return self._call

    def _machine_code(self) -> bytes:
        """Return what was kept for these sources and this processor; where nothing was, compile it and keep it."""
        source = Path(inspect.getfile(self.function))
        ours = Path(__file__), Path(__file__).with_name("compiler.py")
        written = sorted({source, *ours, *(Path(inspect.getfile(each.function)) for each in self.helpers.values())})
        made_for = (llvmlite.__version__, llvm.get_process_triple(), llvm.get_host_cpu_name(), _features())
        key = b"\0".join([*(path.read_bytes() for path in written), *(part.encode() for part in made_for)])
        name = f"{source.stem}.{self.function.__name__}.o"
        for folder in _folders(source):
            with suppress(OSError):
                seal, code = _cut((folder / name).read_bytes())
                # The seal is over the code, too: broken machine code would end the process without a word.
                if seal == _seal(key, code):
                    return code
        from guidevane.compiled.compiler import machine_code  # noqa: PLC0415 - numba: what all this is to do without

        code = machine_code(self)
        for folder in _folders(source):
            with suppress(OSError):
                _replace(folder / name, _seal(key, code) + code)
                break
        return code


def _caller(takes: dict[str, Taken], native: Callable[..., Any]) -> Callable[..., Any]:
    """Return what hands arrays over, written out for each function: a simulation makes dozens of short calls."""
    arrays = {name: each.kind for name, each in takes.items() if each.array}
    right = " and ".join(f"{name}.dtype == {kind} and {name}.ndim == 1" for name, kind in arrays.items())
    passed = [f"at(as_{_IN_C[arrays[name]]}, {name}), len({name})" if name in arrays else name for name in takes]
    source = f"""
def call({", ".join(takes)}):
    if {right or True}:
        return native({", ".join(passed)})
    refuse({", ".join(f"{name}={name}" for name in arrays)})
"""

    def refuse(**given: np.ndarray) -> None:
        for name, array in given.items():
            if array.dtype != arrays[name] or array.ndim != 1:
                raise TypeError(f"{name}: wants an array of {arrays[name]} in one dimension, not {array!r}")

    named: dict[str, Any] = {kind: np.dtype(kind) for kind in arrays.values()}
    # Types, not their names: looking one up takes as long as the rest of handing an array over.
    named |= {f"as_{_IN_C[kind]}": _FFI.typeof(f"{_IN_C[kind]}[]") for kind in arrays.values()}
    named |= {"at": _FFI.from_buffer, "native": native, "refuse": refuse}
    exec(source, named)  # noqa: S102 - names only
    return cast("Callable[..., Any]", named["call"])


@functools.cache
def target() -> llvm.TargetMachine:
    """Return this machine, as LLVM compiles for it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_features(), opt=3, codemodel="jitdefault", jit=True
    )


@functools.cache
def _features() -> str:
    try:
        return str(llvm.get_host_cpu_features().flatten())
    except RuntimeError:  # not every platform tells: what its processor's name implies is enough
        return ""


def _folders(source: Path) -> Iterator[Path]:
    """Where machine code may be kept: beside its source; in a person's cache where that may not be written."""
    yield source.parent / "__pycache__"
    with suppress(RuntimeError):  # nobody's home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guidevane"


def _seal(key: bytes, code: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(key).digest() + code).digest()


def _cut(kept: bytes) -> tuple[bytes, bytes]:
    size = hashlib.sha256().digest_size
    return kept[:size], kept[size:]


def _replace(path: Path, content: bytes) -> None:
    # Readers see the old file or the new one, never half of one.
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)

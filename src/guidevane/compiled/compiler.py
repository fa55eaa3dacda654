"""Functions into machine code, by numba: what a process needs once, where no process before it left any."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numba
from numba import carray, types

from guidevane.compiled.function import target

if TYPE_CHECKING:
    from guidevane.compiled.function import Compiled


def machine_code(compiled: Compiled[..., Any]) -> bytes:
    """Compile a function, with those that it calls, to an object file that holds one symbol: its name.

    Raises ``TypeError`` where the code asks for something of numba's while it runs.
    """
    name = compiled.function.__name__
    callback = _callback(compiled)
    module = llvm.parse_assembly(callback.inspect_llvm())
    module.get_function(callback.native_name).name = name  # numba's own is another in each process
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name != name:
            value.linkage = "internal"
    # What raises, and what counts references, is seen to be never used once nothing but the one symbol can be called.
    passes = llvm.create_pass_builder(target(), llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    asks = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
    asks = [each for each in asks if not each.startswith("llvm.")]
    if asks:
        raise TypeError(
            f"{name}: its machine code asks for {', '.join(asks)}: let it make no arrays, and raise nothing"
        )
    return bytes(target().emit_object(module))


def _callback(compiled: Compiled[..., Any]) -> Any:
    """Return numba's function that takes its arrays as C does: where each begins, and how long it is."""
    takes = compiled.takes
    returns = getattr(types, takes.pop("return").kind)
    signature, named, passed = [], [], []
    for name, each in takes.items():
        kind = getattr(types, each.kind)
        signature += [types.CPointer(kind), types.int64] if each.array else [kind]
        named += [name, f"len_{name}"] if each.array else [name]
        passed += [f"carray({name}, len_{name})" if each.array else name]
    namespace: dict[str, Any] = {"carray": carray, "function": _jitted(compiled)}
    exec(f"def entry({', '.join(named)}): return function({', '.join(passed)})", namespace)  # noqa: S102 - names only
    return numba.cfunc(returns(*signature), nopython=True)(namespace["entry"])


def _jitted(compiled: Compiled[..., Any]) -> Any:
    """Return numba's own function, which calls numba's own where it names another compiled one."""
    function = compiled.function
    named = {**function.__globals__, **{name: _jitted(each) for name, each in compiled.helpers.items()}}
    return numba.njit(FunctionType(function.__code__, named, function.__name__, function.__defaults__))

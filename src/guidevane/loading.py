"""From ``module:name`` to a pipeline, with every mistake on the way told in the author's terms."""

from __future__ import annotations

import importlib
import importlib.util
import symtable
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from guidevane.ensemble import Factory, reference
from guidevane.errors import GuidevaneError, Misconfigured
from guidevane.pipeline import Pipeline
from guidevane.registry import Registry
from guidevane.word import Mistake, collecting, mistakes_of, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.ensemble import Member
    from guidevane.event import Event

EXAMPLES = "guidevane.pipelines"


def load_pipeline(reference: str) -> Pipeline:
    """Return the pipeline that ``module:name`` names; an example's bare name will do.

    The current folder is looked in first, as ``python -m`` does. Raises ``Misconfigured`` with
    every mistake where the pipeline has any with which no room can run.
    """
    pipeline, wrong = examine(reference, rooms_only=True)
    if wrong or pipeline is None:
        raise Misconfigured(f"{reference} cannot run:\n" + "\n".join(f"  {each}" for each in wrong))
    return pipeline


def examine(reference: str, *, rooms_only: bool = False) -> tuple[Pipeline | None, list[Mistake]]:
    """Return the pipeline, if it could be built at all, and every mistake in it.

    With ``rooms_only``, not those that rooms run with: a factory need not be where a room is, only where replicas are;
    and of versions that cannot be read, each event is a dead letter.
    """
    module_name, _, attribute = full_reference(reference).partition(":")
    attribute = attribute or "pipeline"
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with collecting():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as missing:
            if missing.name is not None and (module_name == missing.name or module_name.startswith(missing.name + ".")):
                advice = f"examples: {', '.join(examples())}; or run where {module_name.split('.')[0]} can be imported"
                return None, [Mistake("", f"there is no module '{module_name}'", advice)]
            return None, [_raised(missing, module_name)]
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - an author's module may raise anything, and end us
            return None, [_raised(raised, module_name)]
    found = getattr(module, attribute, None)
    if not isinstance(found, Pipeline):
        named = sorted(name for name, value in vars(module).items() if isinstance(value, Pipeline))
        says = f"'{attribute}' is {'no pipeline' if found is not None else 'not there'}"
        return None, [Mistake(module_name, says, nearest(attribute, named) or f"write {attribute} = Pipeline(...)")]
    wrong: list[Mistake] = []
    try:
        wrong.extend(mistakes_of(found))
        wrong.extend(_models(found))
        if not rooms_only:
            wrong.extend(_factories(found))
            wrong.extend(_history(found.event))
    except Exception as raised:  # noqa: BLE001 - an author's own words may raise anything, and ours trip over what is told
        if not wrong:
            wrong.append(_raised(raised, module_name))
    return found, wrong


def full_reference(reference: str) -> str:
    """Return ``module:name`` for what a person typed.

    >>> full_reference("employment")
    'guidevane.pipelines.employment:pipeline'
    >>> full_reference("mine.fraud:pipeline")
    'mine.fraud:pipeline'
    """
    if ":" in reference or "." in reference:
        return reference
    return f"{EXAMPLES}.{reference}:pipeline" if reference in examples() else f"{reference}:pipeline"


def examples() -> list[str]:
    """Return the names of the pipelines that ship."""
    spec = importlib.util.find_spec(EXAMPLES)
    folders = spec.submodule_search_locations if spec is not None else None
    return sorted(p.parent.name for folder in folders or () for p in Path(folder).glob("*/__init__.py"))


def _history(event: Event) -> Iterator[Mistake]:
    """Tell of known versions whose events this one cannot read: each of them would be a dead letter."""
    if len(event.history) > 1:
        from guidevane.compatibility import check  # noqa: PLC0415 - few contracts have a history yet

        for each in check(event.history, contract=event.name):
            if each.reader == event.version:
                yield Mistake(
                    "event.schema",
                    f"v{each.reader} cannot read v{each.writer} at {each.path}: {each.says}",
                    each.instead,
                )


def _models(pipeline: Pipeline) -> Iterator[Mistake]:
    """Tell of models that the registry does not hold."""
    if pipeline.models is not None:
        registry = Registry(pipeline.models)
        for path, member in _deployed(pipeline):
            if str(member.model).startswith("models:"):
                try:
                    registry.resolve(member.model)
                except GuidevaneError as absent:
                    yield Mistake(f"{path}.model", str(absent))


def _factories(pipeline: Pipeline) -> Iterator[Mistake]:
    """Tell of factories that are not there."""
    for path, member in _deployed(pipeline):
        if not list(mistakes_of(member)):
            try:
                match reference(member.model):
                    case Factory(module, name):
                        _look_up(module, name)
            except Misconfigured as absent:
                yield Mistake(f"{path}.model", str(absent))


def _deployed(pipeline: Pipeline) -> Iterator[tuple[str, Member]]:
    for index, member in enumerate(pipeline.ensemble.deployed):
        yield f"ensemble.members[{index}]" if index < len(pipeline.ensemble.members) else "ensemble.variant", member


def _look_up(module: str, name: str) -> None:
    """Look for what a module names, without importing it: frameworks take seconds.

    Raises ``Misconfigured`` where it is not there; what a module makes of itself as it runs passes.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise Misconfigured(f"there is no module '{module}' → name one that can be imported here")
    if spec.origin is None or not spec.origin.endswith(".py"):
        return
    text = Path(spec.origin).read_text(encoding="utf-8")
    named = {each.get_name() for each in symtable.symtable(text, spec.origin, "exec").get_symbols()}
    if name not in named and "__getattr__" not in named and "import *" not in text:
        raise Misconfigured(f"'{module}' names no '{name}' → {nearest(name, sorted(named))}")


def _raised(error: Exception | SystemExit, module_name: str) -> Mistake:
    """Point at the author's own line, not at ours that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    spec = importlib.util.find_spec(module_name.partition(".")[0]) if module_name else None
    origin = str(Path(spec.origin).parent) if spec is not None and spec.origin else ""
    own = [frame for frame in frames if origin and frame.filename.startswith(origin)]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else module_name
    return Mistake(where, f"{type(error).__name__}: {error}")

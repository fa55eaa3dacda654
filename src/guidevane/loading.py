"""From ``module:name`` to a pipeline, with every mistake on the way told in the author's terms."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path

from guidevane.errors import GuidevaneError, Misconfigured
from guidevane.pipeline import Pipeline
from guidevane.registry import Registry
from guidevane.word import Mistake, collecting, mistakes_of, nearest

EXAMPLES = "guidevane.pipelines"


def load_pipeline(reference: str) -> Pipeline:
    """Return the pipeline that ``module:name`` names; an example's bare name will do.

    The current folder is looked in first, as ``python -m`` does. Raises ``Misconfigured`` with
    every mistake where the pipeline has any.
    """
    pipeline, wrong = examine(reference)
    if wrong or pipeline is None:
        raise Misconfigured(f"{reference} cannot run:\n" + "\n".join(f"  {each}" for each in wrong))
    return pipeline


def examine(reference: str) -> tuple[Pipeline | None, list[Mistake]]:
    """Return the pipeline, if it could be built at all, and every mistake in it."""
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
    return found, [*mistakes_of(found), *_models(found)]


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


def _models(pipeline: Pipeline) -> list[Mistake]:
    if pipeline.models is None:
        return []
    registry = Registry(pipeline.models)
    wrong = []
    for index, member in enumerate(pipeline.ensemble.deployed):
        if str(member.model).startswith("models:"):
            try:
                registry.resolve(member.model)
            except GuidevaneError as absent:
                path = f"members[{index}]" if index < len(pipeline.ensemble.members) else "variant"
                wrong.append(Mistake(f"ensemble.{path}.model", str(absent)))
    return wrong


def _raised(error: Exception | SystemExit, module_name: str) -> Mistake:
    """Point at the author's own line, not at ours that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    spec = importlib.util.find_spec(module_name.partition(".")[0]) if module_name else None
    origin = str(Path(spec.origin).parent) if spec is not None and spec.origin else ""
    own = [frame for frame in frames if origin and frame.filename.startswith(origin)]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else module_name
    return Mistake(where, f"{type(error).__name__}: {error}")

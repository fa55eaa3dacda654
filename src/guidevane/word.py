"""What every word of the pipeline language has in common: frozen, validated, and able to wait with its mistakes.

A word that is built wrongly raises at once, as any constructor would. Inside :func:`collecting`
it is built all the same and keeps its mistakes, so that ``guidevane check`` can name every
mistake of a pipeline in one run, each with its path.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
_collecting: ContextVar[bool] = ContextVar("collecting", default=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: where it is, what is wrong, what to write instead."""

    path: str
    says: str
    instead: str = ""

    def __str__(self) -> str:
        tail = f" → {self.instead}" if self.instead else ""
        return f"{self.path}: {self.says}{tail}" if self.path else f"{self.says}{tail}"

    def under(self, path: str) -> Mistake:
        """Return the same mistake, seen from one level further out."""
        glue = "" if not self.path or not path or self.path.startswith("[") else "."
        return dataclasses.replace(self, path=f"{path}{glue}{self.path}")


def nearest(name: str, known: Sequence[str]) -> str:
    """Return advice for a name that is not known.

    >>> nearest("qorum", ["quorum", "members"])
    "write 'quorum'"
    >>> nearest("x", ["quorum", "members"])
    'one of: quorum, members'
    """
    known = [each for each in known if each]
    close = difflib.get_close_matches(name, known, n=1)
    return f"write '{close[0]}'" if close else f"one of: {', '.join(known)}" if known else ""


@contextmanager
def collecting() -> Iterator[None]:
    """Let words that are wrong be built, for :func:`mistakes_of` to tell of them later."""
    token = _collecting.set(True)
    try:
        yield
    finally:
        _collecting.reset(token)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def word(cls: type[T]) -> type[T]:
    """Make a class a word: a frozen dataclass whose fields pydantic validates.

    A word may define ``mistakes(self) -> Iterator[Mistake]`` for what no single field can tell.

    >>> @word
    ... class Knob:
    ...     name: str
    ...     turns: int = 1
    >>> Knob("volume").turns
    1
    >>> Knob("volume", turn=2)
    Traceback (most recent call last):
    guidevane.errors.Misconfigured: Knob.turn: there is no such field → write 'turns'
    """
    made = pydantic_dataclass(frozen=True, config={"extra": "forbid", "arbitrary_types_allowed": True})(cls)
    validated: Callable[..., None] = made.__init__

    @functools.wraps(validated)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes the class's own
        try:
            validated(self, *args, **kwargs)
        except pydantic.ValidationError as wrong:
            found = _translate(made, wrong)
            if not _collecting.get():
                raise Misconfigured("\n".join(str(each.under(made.__name__)) for each in found)) from None
            _build_anyway(self, made, args, kwargs)
            object.__setattr__(self, "_mistakes", found)

    made.__init__ = __init__  # type: ignore[method-assign]
    return cast("type[T]", made)


def mistakes_of(value: object, path: str = "") -> Iterator[Mistake]:
    """Walk a word and everything it holds; yield each mistake with its path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = getattr(value, "_mistakes", ())
        yield from (each.under(path) for each in kept)
        sound = not kept
        for field in dataclasses.fields(value):
            for each in mistakes_of(getattr(value, field.name, None), _join(path, field.name)):
                sound = False
                yield each
        check = getattr(value, "mistakes", None)
        if check is not None:
            yield from (each.under(path) for each in (check() if sound else _beyond(kept, check)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from mistakes_of(item, f"{path}[{index}]")


def _beyond(kept: Sequence[Mistake], check: Callable[[], Iterator[Mistake]]) -> Iterator[Mistake]:
    """Yield what a word that is broken, or holds one, can still tell of the whole, until it trips over the broken."""
    broken = {_first_of(each.path) for each in kept}
    try:
        yield from (each for each in check() if _first_of(each.path) not in broken)
    except Exception:  # noqa: BLE001 - anything in it may be of any type: what it tripped over is told already
        return


def _first_of(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _translate(cls: type, wrong: pydantic.ValidationError) -> list[Mistake]:
    names = [field.name for field in dataclasses.fields(cls)]
    found = []
    for error in wrong.errors(include_url=False):
        path = _path(error["loc"], names)
        match error["type"]:
            case "unexpected_keyword_argument":
                found.append(Mistake(path, "there is no such field", nearest(path, names)))
            case "missing" | "missing_argument":
                found.append(Mistake(path, "is missing", f"write {path}=..."))
            case "unexpected_positional_argument":
                found.append(Mistake(path, "one positional argument too many", f"fields in order: {', '.join(names)}"))
            case _:
                says = error["msg"].removeprefix("Value error, ").lower()
                found.append(Mistake(path, f"{says}, got {error['input']!r:.60}"))
    return found


def _path(loc: tuple[int | str, ...], names: list[str]) -> str:
    head, *rest = loc or ("",)
    # A positional argument is located by its number: say its name instead.
    text = names[head] if isinstance(head, int) and head < len(names) else str(head)
    for part in rest:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() and not part[0].isupper():
            text += f".{part}"
    return text


def _build_anyway(self: object, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    parameters = {f.name: f for f in dataclasses.fields(cls)}
    given = dict(zip(parameters, args, strict=False)) | {k: v for k, v in kwargs.items() if k in parameters}
    for name, field in parameters.items():
        if name in given:
            value = given[name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            value = None
        object.__setattr__(self, name, getattr(value, "default", value) if _is_field_info(value) else value)


def _is_field_info(value: object) -> bool:
    return isinstance(value, pydantic.fields.FieldInfo) and not inspect.isclass(value)

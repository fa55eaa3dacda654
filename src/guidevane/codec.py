"""Bodies to bytes and back: Avro with Confluent's framing.

Framing, as Confluent's clients have it: ``00`` and a schema id (4 bytes, big-endian), or ``01`` and a schema GUID
(16 bytes), both before the Avro binary; or either of them alone in header ``__value_schema_id``, the value then
being bare Avro binary. We write the first and read all.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast
from uuid import UUID

from fastavro import schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError

from guidevane.errors import Reject
from guidevane.picker import picker
from guidevane.pieces import Layout
from guidevane.reader import GIVEN_UP, cutter, reader
from guidevane.schema import lends, own
from guidevane.skim import skimmer
from guidevane.writer import UNFIT, writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from guidevane.catalogue import Catalogue
    from guidevane.log import Headers
    from guidevane.picker import Pick
    from guidevane.reader import Cutter, Read
    from guidevane.schema import Schema

MAX_BYTES = 1 << 20
SCHEMA_ID_HEADER = "__value_schema_id"

FRAME_BYTES = 5
_GUID_BYTES = 17
# The parents of everything that fastavro was seen to raise on any bytes: UnicodeDecodeError is a ValueError,
# IndexError a LookupError, OverflowError an ArithmeticError.
_DECODING = (
    EOFError, LookupError, ValueError, ArithmeticError, TypeError, RecursionError, MemoryError, struct.error,
    SchemaResolutionError,
)  # fmt: skip


class Decoder(Protocol):
    """Decodes the values of one contract; raises ``Reject`` and nothing else."""

    def __call__(self, value: bytes | None, headers: Headers = ()) -> dict[str, Any]:
        """Return the body."""
        ...


class Picker(Protocol):
    """Reads some fields of one contract's values; raises ``Reject`` and nothing else."""

    def __call__(self, value: bytes | None, headers: Headers = ()) -> tuple[Any, ...]:
        """Return the fields."""
        ...


class _Reading(NamedTuple):
    """How to read what one writer schema wrote."""

    writer: Mapping[str, Any]
    reader: Mapping[str, Any] | None
    skim: Callable[[bytes, int], None] | None
    lends: bool = False
    quick: Read | None = None


class Codec:
    r"""Encodes and decodes by contract name.

    >>> from guidevane.catalogue import Catalogue
    >>> codec = Codec(Catalogue())
    >>> value = codec.encode("label", {"event_id": "e1", "label": 1.0, "observed_at_us": None})
    >>> value[:1], codec.decode("label", value)["event_id"]
    (b'\x00', 'e1')
    """

    def __init__(self, catalogue: Catalogue, *, max_bytes: int = MAX_BYTES) -> None:
        self.catalogue = catalogue
        self.max_bytes = max_bytes
        self._encoders: dict[str, Callable[[Mapping[str, Any]], bytes]] = {}
        self._decoders: dict[tuple[str, bool], Decoder] = {}

    def encode(self, name: str, body: Mapping[str, Any]) -> bytes:
        """Return ``body`` in the latest version of a contract. See :meth:`encoder`."""
        encoder = self._encoders.get(name)
        if encoder is None:
            encoder = self._encoders[name] = self.encoder(name)
        return encoder(body)

    def decode(self, name: str, value: bytes | None, headers: Headers = (), *, trusted: bool = False) -> dict[str, Any]:
        """Return the body of a value, in the latest version of a contract. See :meth:`decoder`."""
        decoder = self._decoders.get((name, trusted))
        if decoder is None:
            decoder = self._decoders[name, trusted] = self.decoder(name, trusted=trusted)
        return decoder(value, headers)

    def encoder(self, name: str, *, version: int | None = None) -> Callable[[Mapping[str, Any]], bytes]:
        """Return what encodes bodies of one contract (its latest version where none is given).

        A body that does not fit is a bug of the caller's: what fastavro raises passes through.
        """
        schema = self._schema(name, version)
        prefix = _frame(schema)
        parsed = cast("Any", schema.parsed)

        def judged(body: Mapping[str, Any]) -> bytes:
            out = BytesIO()
            out.write(prefix)
            schemaless_writer(out, parsed, body)
            return out.getvalue()

        made = writer(schema.parsed, prefix)
        if made is None:
            return judged

        def encode(body: Mapping[str, Any]) -> bytes:
            try:
                return made(body)
            except UNFIT:
                # Not plain, or not right: fastavro writes it, or says what is wrong.
                return judged(body)

        return encode

    def layout(self, name: str) -> Layout:
        """Return what joins the fields of a batch, written already, to values of a contract's latest version."""
        schema = self._schema(name, None)
        return Layout(schema.parsed, _frame(schema))

    def plain(self, name: str, fields: Collection[str], *, version: int) -> tuple[bytes, Cutter] | None:
        """Return what the values of a contract's own version begin with, and what reads them from there.

        It tells where ``fields`` lie, too (:func:`guidevane.reader.cutter`), and raises one of ``GIVEN_UP`` where it
        does not know a value to be right; a decoder then says what it is. ``None`` where a decoder must look first: at
        what may cost more than its length.
        """
        schema = self._schema(name, version)
        cut = None if skimmer(schema.parsed) is not None else cutter(schema.parsed, fields)
        return None if cut is None else (_frame(schema), cut)

    def decoder(self, name: str, *, version: int | None = None, trusted: bool = False) -> Decoder:
        """Return what decodes values of one contract into one version (the latest where none is given).

        ``trusted`` spares the walk that bounds arrays, maps and recursion: only for topics that nobody but our
        own rooms may write. The decoder raises ``Reject`` for every value that it cannot decode: "empty",
        "bad_magic", "unknown_schema", "wrong_schema", "truncated", "bad_utf8", "malformed", "trailing_bytes",
        "decode_budget" (past ``max_bytes``, or see :func:`guidevane.skim.skimmer`).
        """
        schema = self._schema(name, version)
        own = _frame(schema)
        # Contracts without arrays, maps or recursion have no skimmer: the hot path then pays nothing for safety.
        reading = _own(schema, trusted=trusted)
        readings: dict[int | UUID, _Reading] = {schema.id: reading, schema.guid: reading}
        max_bytes = self.max_bytes

        def decode(value: bytes | None, headers: Headers = ()) -> dict[str, Any]:
            if not value:
                raise Reject("empty", f"{name}: the value is empty")
            if len(value) > max_bytes:
                raise Reject("decode_budget", f"{name}: {len(value)} bytes, at most {max_bytes} are read")
            header = header_of(headers) if headers else None
            if header is None and value[:FRAME_BYTES] == own:
                return _read(name, reading, value, FRAME_BYTES)
            schema_id, start = _framing(name, value, header)
            found = readings.get(schema_id)
            if found is None:
                found = readings[schema_id] = self._reading(schema, schema_id, trusted=trusted)
            return _read(name, found, value, start)

        return decode

    def picker(self, name: str, fields: Sequence[str]) -> Picker:
        """Return what reads only these fields of one contract's latest version, as a tuple in their order.

        For topics that nobody but our own rooms may write, as with ``trusted``, where values carry their own framing:
        what is wrong in fields that nobody asked for goes unseen. Maps are shared between records. Raises ``Reject``
        as :meth:`decoder`.
        """
        schema = self._schema(name, None)
        own = _frame(schema)
        quick = picker(schema.parsed, fields)
        decode = self.decoder(name, trusted=True)

        def pick(value: bytes | None, headers: Headers = ()) -> tuple[Any, ...]:
            if quick is not None and value is not None and value[:FRAME_BYTES] == own:
                try:
                    return quick(value, FRAME_BYTES)
                except GIVEN_UP:
                    # Not plain, or not right: the decoder reads it, or says what is wrong.
                    pass
            body = decode(value, headers)
            return tuple([body[field] for field in fields])

        return pick

    def behind(self, name: str, first: Sequence[str], fields: Sequence[str]) -> Pick | None:
        """Return what picks these fields of a contract's latest version from where its ``first`` fields end.

        ``None`` where the contract begins with others, or a picker must look at the whole (:meth:`picker`).
        """
        parsed = self._schema(name, None).parsed
        own, rest = parsed["fields"][: len(first)], parsed["fields"][len(first) :]
        return picker({**parsed, "fields": rest}, fields) if [field["name"] for field in own] == [*first] else None

    def _schema(self, name: str, version: int | None) -> Schema:
        return self.catalogue.latest(name) if version is None else self.catalogue.version(name, version)

    def _reading(self, schema: Schema, schema_id: int | UUID, *, trusted: bool) -> _Reading:
        writer = self.catalogue.find(schema_id)
        if writer is None:
            raise Reject("unknown_schema", f"{schema.contract}: nobody knows schema id {schema_id}")
        if writer.contract != schema.contract:
            raise Reject("wrong_schema", f"{schema.contract}: schema id {schema_id} is of {writer.contract}")
        if writer.id == schema.id:
            # The same bytes under another id: the reader's own schema reads them without resolution.
            return _own(schema, trusted=trusted)
        return _Reading(writer.parsed, schema.parsed, None if trusted else skimmer(writer.parsed), lends(schema.parsed))


def _frame(schema: Schema) -> bytes:
    return struct.pack(">BI", 0, schema.id)


def _own(schema: Schema, *, trusted: bool) -> _Reading:
    """Return how to read what this very schema wrote."""
    return _Reading(schema.parsed, None, None if trusted else skimmer(schema.parsed), quick=reader(schema.parsed))


def header_of(headers: Headers) -> bytes | None:
    """Return the schema id header's bytes; the last one wins, as in Java's deserializer."""
    found = None
    for key, value in headers:
        if key == SCHEMA_ID_HEADER:
            found = value
    return found


def schema_id_of(value: bytes | None, headers: Headers = ()) -> int | UUID | None:
    """Return the writer's schema id or GUID as framed, or ``None`` where there is no whole frame.

    >>> schema_id_of(bytes.fromhex("0000000007") + b"...")
    7
    """
    try:
        return _framing("", value or b"", header_of(headers))[0]
    except Reject:
        return None


def _framing(name: str, value: bytes, header: bytes | None) -> tuple[int | UUID, int]:
    frame = value if header is None else header
    magic = frame[:1]
    if magic not in {b"\x00", b"\x01"}:
        raise Reject("bad_magic", f"{name}: starts with {frame[:8]!r}, no Confluent framing")
    need = FRAME_BYTES if magic == b"\x00" else _GUID_BYTES
    if len(frame) < need:
        raise Reject("truncated", f"{name}: {len(frame)} bytes of a {need}-byte frame")
    schema_id = int.from_bytes(frame[1:need]) if need == FRAME_BYTES else UUID(bytes=frame[1:need])
    return schema_id, need if header is None else 0


def _read(name: str, reading: _Reading, value: bytes, start: int) -> dict[str, Any]:
    writer, resolved, skim, lent, quick = reading
    if skim is not None:
        try:
            skim(value, start)
        except Reject as wrong:
            raise Reject(wrong.cause, f"{name}: {wrong}") from None
    if quick is not None and type(value) is bytes:
        try:
            return quick(value, start)
        except GIVEN_UP:
            # Not plain, or not right: fastavro reads it, or says what is wrong.
            pass
    data = BytesIO(value)
    data.seek(start)
    try:
        body = schemaless_reader(data, cast("Any", writer), cast("Any", resolved))
    except _DECODING as wrong:
        raise Reject(
            _cause(wrong), f"{name}: {wrong!s:.120}" if str(wrong) else f"{name}: the record ends early"
        ) from wrong
    if data.tell() != len(value):
        raise Reject("trailing_bytes", f"{name}: {len(value) - data.tell()} bytes follow the record")
    # fastavro gives every event the same default list or map: one event's change would be another's.
    return cast("dict[str, Any]", own(body) if lent else body)


def _cause(wrong: Exception) -> str:
    if isinstance(wrong, UnicodeDecodeError):
        return "bad_utf8"
    # fastavro indexes what it has read, so a number past the end and an unknown branch or symbol are both IndexErrors:
    # only the second is of a list.
    if isinstance(wrong, EOFError) or (isinstance(wrong, IndexError) and "list" not in str(wrong)):
        return "truncated"
    return "malformed"

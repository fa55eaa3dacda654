"""Bytes that nobody would send, by the million: through decoding, the contract, and the whole ingest handler.

``make fuzz`` runs this. Work is dealt to child processes, so that what ends a process is noticed and told by its
seed: ``python tests/fuzzing.py --seed S --payloads N`` does the same again.
"""

# ruff: noqa: T201 - a program that a person runs
from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator

import orjson
from rich.progress import Progress

from guidevane import Ensemble, Event, Member, Numeric, Pipeline
from guidevane.catalogue import Catalogue
from guidevane.codec import SCHEMA_ID_HEADER, Codec
from guidevane.contract import Contract
from guidevane.errors import Reject
from guidevane.log import Headers, Message, Record
from guidevane.services.ingest.service import Ingest
from guidevane.telemetry.metrics import Metrics
from guidevane.testing import ManualClock, poison

NODE = {
    "type": "record",
    "name": "fuzz.node",
    "fields": [
        {"name": "key", "type": "string"},
        {"name": "at", "type": ["null", "long"], "default": None},
        {"name": "x", "type": "double", "default": 0.0},
        {"name": "n", "type": "int", "default": 0},
        {"name": "part", "type": {"type": "enum", "name": "fuzz.part", "symbols": ["a", "b"]}, "default": "a"},
        {"name": "hash", "type": {"type": "fixed", "name": "fuzz.hash", "size": 4}, "default": "\0\0\0\0"},
        {"name": "nothing", "type": {"type": "array", "items": "null"}, "default": []},
        {"name": "numbers", "type": {"type": "map", "values": ["null", "long", "float"]}, "default": {}},
        {"name": "next", "type": ["null", "fuzz.node"], "default": None},
    ],
}
PIPELINE = Pipeline(
    name="fuzz",
    event=Event("fuzz.node.v1", schema=NODE, key="key", time="at", pii=("key",), ranges={"n": (0, 1000)}),
    features=[Numeric("x")],
    ensemble=Ensemble([Member("a", "m:a")]),
)
LEAF = {
    "key": "k", "at": 1_700_000_000_000_000, "x": 1.5, "n": 3, "part": "b", "hash": b"abcd",
    "nothing": [None], "numbers": {"a": 5, "b": None, "c": 1.5}, "next": None,
}  # fmt: skip
GOOD = {**LEAF, "next": {**LEAF, "next": LEAF}}
BATCH = 256
# An answer may not cost more than this for a batch: bytes that buy time are an attack as well.
SLOWEST_S = 5.0
TOKENS = [
    b"\xff", b"\x00", b"\x80", b"\x7f", b"\xfe\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b'"', b"{", b"}", b"[", b"]", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"NaN", b"null", b'{"key":', b"\xed\xa0\x80",
]  # fmt: skip


class Mutants:
    """Endless mutants of good events and of every known poison, the same for the same seed."""

    def __init__(self, seed: int, codec: Codec) -> None:
        self.rng = random.Random(seed)
        avro = codec.encode("fuzz.node", GOOD)
        text = orjson.dumps(GOOD, default=lambda content: b64encode(content).decode())
        dosed = [(each.value, each.headers) for each in poison(PIPELINE.event, GOOD, codec)]
        small = [each for each in dosed if each[0] is not None and len(each[0]) < 20_000]
        self.seeds: list[tuple[bytes, Headers]] = [(avro, ()), (text, ())] * len(small) + small

    def __iter__(self) -> Iterator[tuple[bytes | None, Headers]]:
        rng = self.rng
        while True:
            value, headers = rng.choice(self.seeds)
            changed = bytearray(value)
            for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
                self._change(changed)
            if rng.random() < 0.1:
                name = rng.choice((SCHEMA_ID_HEADER, "event_id", "traceparent", "gv.origin", "x"))
                head = bytes(value[:5]) if rng.random() < 0.5 else rng.randbytes(rng.randrange(40))
                headers = (*headers, (name, head))
            yield bytes(changed), headers

    def _change(self, value: bytearray) -> None:
        rng = self.rng
        at = rng.randrange(len(value) + 1)
        match rng.randrange(7):
            case 0 | 1 if value:
                value[at % len(value)] = rng.randrange(256)
            case 2 if value:
                value[at % len(value)] ^= 1 << rng.randrange(8)
            case 3:
                value[at:at] = rng.choice(TOKENS)
            case 4:
                del value[at : at + rng.randrange(1, 16)]
            case 5:
                value[at:at] = value[at : at + rng.randrange(1, 64)]
            case _:
                other = rng.choice(self.seeds)[0]
                value[at:] = other[rng.randrange(len(other) + 1) :][:2048]


def fuzz(payloads: int, seed: int) -> Iterator[tuple[int, Counter[str]]]:
    """Answer so many payloads; yield how many were, and which answers they got, after each batch.

    Raises ``AssertionError`` where one is not answered, or only after a long time.
    """
    catalogue = Catalogue()
    catalogue.learn(PIPELINE.event)
    codec = Codec(catalogue)
    contract = Contract(PIPELINE.event, codec)
    clock = ManualClock()
    ingest = Ingest(
        PIPELINE, contract, codec, clock=clock, metrics=Metrics("fuzz", "fuzz", "fuzz"), secret=b"k" * 32, window=1000
    )
    decode = codec.decoder("fuzz.node")
    mutants = iter(Mutants(seed, codec))
    found: Counter[str] = Counter()
    done = 0
    with asyncio.Runner() as runner:
        while done < payloads:
            size = min(BATCH, payloads - done)
            batch = [
                Record("fuzz.events", 0, done + i, None, value, headers, clock.now_us())
                for i, (value, headers) in enumerate(next(mutants) for _ in range(size))
            ]
            started = time.process_time()
            for record in batch[::8]:
                try:
                    decode(record.value, record.headers)
                except Reject as reject:
                    assert reject.cause and str(reject)
            answers = runner.run(ingest(batch))
            took_s = time.process_time() - started
            assert took_s < SLOWEST_S, f"seed {seed}: payloads {done} to {done + size} cost {took_s:.1f} s"
            assert len(answers) == size
            for answer in answers:
                if isinstance(answer, Message):
                    found["accepted"] += 1
                else:
                    found[answer.cause if isinstance(answer, Reject) else "duplicate"] += 1
            done += size
            yield done, found


def _child(payloads: int, seed: int) -> None:
    answers: Counter[str] = Counter()
    for done, found in fuzz(payloads, seed):
        answers = found
        if done % (BATCH * 20) == 0 or done == payloads:
            print(done, flush=True)
    print(orjson.dumps(answers).decode(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payloads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--each", type=int, default=100_000, help="payloads a child process answers")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.payloads, given.seed)
        return
    print(f"seed {given.seed}")
    total: Counter[str] = Counter()
    with Progress() as bars:
        bar = bars.add_task("payloads", total=given.payloads)
        for number, start in enumerate(range(0, given.payloads, given.each)):
            size = min(given.each, given.payloads - start)
            command = [sys.executable, __file__, "--child", "--payloads", str(size), "--seed", str(given.seed + number)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                for line in child.stdout:
                    if line.startswith("{"):
                        total.update(orjson.loads(line))
                    else:
                        bars.update(bar, completed=start + int(line))
            if child.returncode:
                again = f"{sys.executable} {__file__} --child --payloads {size} --seed {given.seed + number}"
                sys.exit(f"a child ended with status {child.returncode}; again: {again}")
    for cause, count in total.most_common():
        print(f"{count:>10,}  {cause}")
    if total.total() != given.payloads:
        sys.exit(f"{total.total():,} answers for {given.payloads:,} payloads")
    print(f"{given.payloads:,} payloads, each answered; nothing crashed")


if __name__ == "__main__":
    main()

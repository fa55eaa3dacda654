"""All processes agree on what a schema id means, without asking anyone."""

import subprocess
import sys

import pytest

from guidevane.catalogue import Catalogue
from guidevane.errors import Misconfigured
from guidevane.event import Event

PING = {"type": "record", "name": "net.ping", "fields": [{"name": "host", "type": "string"}]}


def test_ids_are_the_same_in_every_process():
    told = "from guidevane.catalogue import Catalogue; c = Catalogue(); print([c.latest(n).id for n in c.names()])"
    there = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    here = Catalogue()
    assert there.strip() == str([here.latest(name).id for name in here.names()])


def test_ids_that_are_published_stay_what_they_are():
    catalogue = Catalogue()
    assert {name: catalogue.version(name, 1).id for name in catalogue.names()} == {
        "accepted": 1425921721,
        "alert": 1829024774,
        "audit": 1553738850,
        "control": 2044675857,
        "dead_letter": 1557832504,
        "decision": 2091453273,
        "features": 1204986895,
        "label": 1987060106,
        "outcome": 1640658392,
        "prediction": 2144742765,
        "telemetry": 1363053668,
    }


def test_ids_fit_javas_int_and_stay_clear_of_a_registrys_counter():
    catalogue = Catalogue()
    assert all(2**30 <= catalogue.latest(name).id < 2**31 for name in catalogue.names())


def test_docs_defaults_and_order_of_attributes_do_not_change_an_id():
    documented = {
        "fields": [{"doc": "who", "type": {"type": "string"}, "name": "host"}],
        "namespace": "net",
        "name": "ping",
        "type": "record",
        "doc": "A ping.",
    }
    one, other = Catalogue([Event("net.ping.v1", schema=PING, key="host")]), Catalogue()
    other.learn(Event("net.ping.v1", schema=documented, key="host"))
    assert one.latest("net.ping").id == other.latest("net.ping").id


def test_a_contract_may_be_learned_twice_and_not_changed():
    catalogue = Catalogue()
    event = Event("net.ping.v1", schema=PING, key="host")
    catalogue.learn(event)
    catalogue.learn(event)
    assert [schema.version for schema in catalogue.versions("net.ping")] == [1]
    changed = {**PING, "fields": [*PING["fields"], {"name": "n", "type": "int"}]}
    with pytest.raises(Misconfigured, match="two different schemas for version 1"):
        catalogue.learn(Event("net.ping.v1", schema=changed, key="host"))
    assert len(catalogue.latest("net.ping").parsed["fields"]) == 1


def test_two_contracts_cannot_share_a_schema():
    with pytest.raises(Misconfigured, match=r"'net.ping' and 'net.pong' share schema id \d+"):
        Catalogue([Event("net.ping.v1", schema=PING, key="host"), Event("net.pong.v1", schema=PING, key="host")])


def test_a_name_that_is_not_known_is_answered_with_the_nearest():
    with pytest.raises(Misconfigured, match="there is no contract 'feature': write 'features'"):
        Catalogue().latest("feature")
    with pytest.raises(Misconfigured, match="'features' has no version 9"):
        Catalogue().version("features", 9)


def test_an_id_that_nobody_knows_is_none():
    assert Catalogue().find(7) is None


@pytest.mark.parametrize(
    "schema", [{}, {"type": "int"}, {"type": "record"}, {"type": "record", "name": "a.b", "fields": 3}]
)
def test_what_is_no_record_is_misconfigured(schema):
    with pytest.raises(Misconfigured, match=r"'a\.b' version 1 is not an Avro"):
        Catalogue([Event("a.b.v1", schema=schema, key="k")])

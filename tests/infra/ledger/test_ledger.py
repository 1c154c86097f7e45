"""The ledger over a real log: receipts, repetition, rebuilding, and every mutation refused."""

import sqlite3

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gridspine.infra.ledger.ledger import Ledger, summary
from gridspine.infra.ledger.note import note_text, parse_checkpoint
from gridspine.infra.ledger.receipt import Receipt, decode_proof, encode_proof, verify, verify_growth
from gridspine.infra.log.port import Position, Record, Stored, Topic
from gridspine.infra.log.sqlite import SqliteEventLog
from gridspine.infra.log.topics import LEDGER
from gridspine.infra.registry.port import Event
from gridspine.kernel.errors import Corrupt, DiskFull, Invalid, NotFound

ORIGIN = "example.org/ledger"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def body(n):
    return msgspec.json.encode(Event(f"event-{n}", "grant.approved", n, f"urn:uuid:{n}", "urn:org:a", {"n": n}))


def stored(bodies, first=0):
    return [Stored(Position(LEDGER, 0, first + n), b"k", text, 0) for n, text in enumerate(bodies)]


@pytest.fixture
def log(tmp_path):
    log = SqliteEventLog(tmp_path / "log", [Topic(LEDGER, control=True)])
    yield log
    log.close()


@pytest.fixture
def make(tmp_path):
    opened = []

    def make(name="ledger.sqlite", log=None, signer=SIGNER):
        opened.append(Ledger(tmp_path / name, signer, ORIGIN, log=log))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def test_receipts_over_the_log(log, make):
    log.append([Record(LEDGER, b"k", body(n), n) for n in range(23)])
    ledger = make(log=log)
    assert ledger.catch_up(max_records=5) == 23
    assert ledger.catch_up() == 0
    for n in range(23):
        receipt = decode_proof(encode_proof(ledger.receipt(f"event-{n}")))
        assert receipt.leaf == body(n)
        assert verify(receipt, ledger.key).size == 23
        assert ledger.place(f"event-{n}").offset == n
    with pytest.raises(NotFound):
        ledger.receipt("event-23")


def test_repeated_event_is_two_leaves_and_the_first_is_its_place(make):
    ledger = make()
    ledger.consume(stored([body(0), body(1), body(0), b"not an event", body(2)]))
    assert ledger.size == 5
    assert ledger.receipt("event-0").leaf_index == 0
    assert ledger.receipt("event-2").leaf_index == 4
    assert verify(ledger.receipt("event-0"), ledger.key)


def test_batches_may_come_twice_and_offsets_may_have_gaps(make):
    ledger = make()
    assert ledger.consume(stored([body(0), body(1)])) == 2
    assert ledger.consume(stored([body(0), body(1), body(2)])) == 1
    assert ledger.consume(stored([body(9)], first=9)) == 1
    assert (ledger.size, ledger.consumed) == (4, 10)


class FullDisk:
    """Stands in for the ledger's connection: every change fails as on a full disk, which ends the transaction."""

    def __init__(self, ledger):
        self._ledger, self._db = ledger, ledger._db
        ledger._db = self

    def execute(self, statement, *values):
        if statement.partition(" ")[0] in {"INSERT", "UPDATE", "COMMIT"}:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._db.execute(statement, *values)

    @property
    def in_transaction(self):
        return self._db.in_transaction

    def free(self):
        self._ledger._db = self._db


def test_on_a_full_disk_nothing_new_is_signed_and_it_goes_on_afterwards(make, tmp_path):
    ledger = make()
    ledger.consume(stored([body(0)]))
    signed = ledger.checkpoint()
    ledger.consume(stored([body(1)], first=1))
    disk = FullDisk(ledger)
    with pytest.raises(DiskFull, match="free some room"):
        ledger.checkpoint()
    with pytest.raises(DiskFull):
        ledger.receipt("event-1")
    with pytest.raises(DiskFull):
        ledger.consume(stored([body(2)], first=2))
    assert (ledger.size, summary(tmp_path / "ledger.sqlite").note) == (2, signed)
    disk.free()
    assert ledger.consume(stored([body(2)], first=2)) == 1
    assert parse_checkpoint(note_text(ledger.checkpoint())).size == 3


def test_a_failing_batch_leaves_nothing(make):
    ledger = make()
    ledger.consume(stored([body(0)]))

    def broken():
        yield from stored([body(1), body(2)], first=1)
        raise RuntimeError("the wire broke")

    with pytest.raises(RuntimeError):
        ledger.consume(broken())
    assert (ledger.size, ledger.consumed) == (1, 1)
    ledger.consume(stored([body(1)], first=1))
    assert verify(ledger.receipt("event-1"), ledger.key)


def test_rebuilt_ledger_is_the_same(log, make):
    log.append([Record(LEDGER, b"k", body(n), n) for n in range(11)])
    first, second = make("a.sqlite", log), make("b.sqlite", log)
    first.catch_up(max_records=3)
    second.catch_up()
    assert first.checkpoint() == second.checkpoint()
    assert first.receipt("event-4") == second.receipt("event-4")


def test_growth_from_every_earlier_checkpoint(make):
    ledger = make()
    notes = []
    for n in range(20):
        ledger.consume(stored([body(n)], first=n))
        notes.append(ledger.checkpoint())
    for n, old in enumerate(notes):
        growth = decode_proof(encode_proof(ledger.growth(old)))
        before, after = verify_growth(growth, ledger.key)
        assert (before.size, after.size) == (n + 1, 20)
    growth = ledger.growth(notes[6])
    with pytest.raises(Invalid, match="does not continue"):
        verify_growth(msgspec.structs.replace(growth, old_checkpoint=notes[7]), ledger.key)


def test_another_signer_signs_the_same_head_anew(make, tmp_path):
    ledger = make()
    ledger.consume(stored([body(0)]))
    old = ledger.checkpoint()
    ledger.close()
    other = make(signer=Ed25519PrivateKey.generate())
    assert parse_checkpoint(other.checkpoint().split("\n\n")[0] + "\n").size == 1
    with pytest.raises(Invalid):
        other.growth(old)


def test_a_contradiction_of_what_was_signed_is_not_signed(make):
    ledger = make()
    ledger.consume(stored([body(0), body(1)]))
    ledger.checkpoint()
    ledger._db.execute("UPDATE node SET hash = zeroblob(32) WHERE level = 1")
    with pytest.raises(Corrupt):
        ledger.checkpoint()


def test_a_log_that_holds_something_else_is_noticed(log, make):
    log.append([Record(LEDGER, b"k", body(7), 0)])
    ledger = make(log=log)
    ledger.consume(stored([body(0)]))
    with pytest.raises(Corrupt):
        ledger.receipt("event-0")


def test_empty_ledger_signs_the_empty_root(make):
    assert parse_checkpoint(make().checkpoint().split("\n\n")[0] + "\n").size == 0


def test_summary_reads_beside_the_writer(make, tmp_path):
    ledger = make()
    ledger.consume(stored([body(0), body(1), body(2)]))
    note = ledger.checkpoint()
    found = summary(tmp_path / "ledger.sqlite", latest=2)
    assert (found.size, found.consumed, found.note) == (3, 3, note)
    assert found.latest == [(2, "event-2"), (1, "event-1")]
    with pytest.raises(NotFound):
        summary(tmp_path / "none.sqlite")
    (tmp_path / "text").write_text("not a database, whatever its name may say")
    with pytest.raises(Corrupt):
        summary(tmp_path / "text")


@pytest.fixture(scope="module")
def receipts(tmp_path_factory):
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l.sqlite", SIGNER, ORIGIN)
    ledger.consume(stored([body(n) for n in range(37)]))
    made = [msgspec.structs.replace(ledger.receipt(f"event-{n}"), leaf=body(n)) for n in range(37)]
    key = ledger.key
    ledger.close()
    return made, key


@settings(max_examples=300)
@given(data=st.data())
def test_any_changed_receipt_is_refused(receipts, data):
    made, key = receipts
    receipt = made[data.draw(st.integers(0, 36), "which")]
    assert verify(receipt, key).origin == ORIGIN
    fields = msgspec.structs.asdict(receipt)
    name = data.draw(st.sampled_from(sorted(fields)), "field")
    value = fields[name]
    if isinstance(value, int):
        changed = data.draw(st.integers(0, 2**64).filter(lambda n: n != value))
    elif isinstance(value, bytes):
        changed = _flip(value, data)
    elif isinstance(value, str):
        changed = _flip(value.encode(), data).decode("utf-8", errors="replace")
    else:
        at = data.draw(st.integers(0, len(value) - 1))
        changed = (*value[:at], _flip(value[at], data), *value[at + 1 :])
    with pytest.raises(Invalid):
        verify(msgspec.structs.replace(receipt, **{name: changed}), key)


def _flip(value, data):
    bit = data.draw(st.integers(0, len(value) * 8 - 1), "bit")
    return (int.from_bytes(value) ^ (1 << bit)).to_bytes(len(value))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_else_is_not_a_receipt(junk):
    with pytest.raises(Invalid):
        decode_proof(junk)


def test_a_receipt_without_its_event_still_verifies(receipts):
    made, key = receipts
    bare = msgspec.structs.replace(made[5], leaf=None)
    assert b'"leaf"' not in encode_proof(bare)
    assert isinstance(decode_proof(encode_proof(bare)), Receipt)
    assert verify(bare, key)

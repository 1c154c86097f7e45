"""The ledger's head where there is no room to keep it."""

import sqlite3

INCIDENT = {"subject": "s", "title": "t", "owner": "o", "deadline": "2100-01-01T00:00:00Z", "evidence": "e"}


class FullDisk:
    """Stands in for the ledger's connection: no change finds room."""

    def __init__(self, connection):
        self._connection = connection

    def execute(self, statement, *values):
        if statement.startswith("UPDATE"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._connection, name)


async def test_a_head_that_cannot_be_kept_is_answered_507_and_given_when_there_is_room(world, monkeypatch):
    assert (await world.op.post("/incidents", json=INCIDENT)).status_code == 201
    ledger = world.node.ledger
    ledger.catch_up()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_db", FullDisk(ledger._db))
        answer = await world.nobody.get("/ledger/checkpoint")
        assert (answer.status_code, answer.headers["content-type"]) == (507, "application/problem+json")
        assert "free some room" in answer.json()["detail"]
    answer = await world.nobody.get("/ledger/checkpoint")
    assert (answer.status_code, int(answer.text.split("\n")[1])) == (200, ledger.size)

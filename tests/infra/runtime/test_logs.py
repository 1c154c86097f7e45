"""Logs: whoever logs goes on, whatever became of standard error."""

import io
import logging
import sys
import threading

import pytest
import structlog

from gridspine.infra.runtime.logs import configure_logs


class Broken(io.StringIO):
    """A pipe whose other end is gone."""

    def write(self, _):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


class Closed(io.StringIO):
    """A file that was closed."""

    def __init__(self):
        super().__init__()
        self.close()


@pytest.fixture(params=[Broken, Closed])
def unwritable(request, monkeypatch):
    """Standard error that cannot be written to."""
    monkeypatch.setattr(sys, "stderr", request.param())


def test_a_thread_that_logs_goes_on(unwritable):
    configure_logs("info", as_json=True)
    done: list[int] = []

    def work():
        structlog.get_logger("x").warning("a warning", count=1)
        logging.getLogger("y").warning("another")
        done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def test_lines_go_to_standard_error_as_it_is_now(monkeypatch):
    configure_logs("info", as_json=True)
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    structlog.get_logger("x").warning("here")
    assert '"here"' in out.getvalue()

"""Query processes that wait: what dies while it waits is put away."""

from gridspine.infra.archive import query as query_module
from gridspine.infra.archive.query import QueryPool


def test_a_spare_child_that_died_leaves_no_pipe_open(node):
    pool = QueryPool(node.archive, node.log_folder, spares=1)
    pool.warm()
    (first,) = pool._spares
    first.kill()
    first.wait()
    pool.warm()
    assert first.stdin.closed
    assert first.stdout.closed
    (second,) = pool._spares
    second.kill()
    second.wait()
    third = pool._take()
    assert second.stdout.closed
    assert third is not second
    query_module._end(third)
    pool.close()

"""Reading ahead and writing behind: order, bounds, failures, and no thread left."""

import threading
import time

import pytest

from vsr_pipeline.overlap import WriteBehind, read_ahead


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_keeps_order_and_ends():
    with read_ahead(iter(range(100)), depth=3) as ahead:
        assert list(ahead) == list(range(100))


def test_reads_no_further_than_its_depth():
    read = []

    def source():
        for i in range(100):
            read.append(i)
            yield i

    with read_ahead(source(), depth=3) as ahead:
        next(ahead)
        time.sleep(0.2)
        assert len(read) <= 1 + 3 + 1


def test_a_failure_comes_where_its_item_would_have_come():
    def source():
        yield 1
        raise ValueError("broken frame")

    with read_ahead(source(), depth=3) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="broken frame"):
            next(ahead)


def test_leaving_early_closes_the_source():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="stop"), read_ahead(source(), depth=2) as ahead:
        next(ahead)
        raise RuntimeError("stop")
    assert closed == [True]


def test_writes_everything_before_it_is_left():
    done = []
    with WriteBehind(threads=2, depth=3) as writes:
        for i in range(20):
            writes.call(lambda i=i: done.append(i))
    assert sorted(done) == list(range(20))


def test_a_failed_write_is_raised():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WriteBehind(threads=1, depth=2) as writes:
        writes.call(fail)


def test_at_most_depth_calls_wait():
    gate = threading.Event()
    threading.Timer(0.3, gate.set).start()
    started = time.monotonic()
    with WriteBehind(threads=1, depth=2) as writes:
        for _ in range(3):
            writes.call(gate.wait)
        assert time.monotonic() - started >= 0.25

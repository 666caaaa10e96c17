"""Reading ahead and writing behind: order, bounds, failures, and no thread left."""

import os
import random
import signal
import threading
import time
from contextlib import suppress

import pytest

from vsr_pipeline.errors import Interrupted
from vsr_pipeline.runtime.prefetch import WriteBehind, read_ahead
from vsr_pipeline.runtime.signals import stoppable, uninterrupted


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


def test_interrupted_at_any_moment_leaves_no_thread():
    """Also while a thread is started, or waited for: whoever cleans up afterwards must not meet it at work."""
    closed = []

    def source():
        try:
            while True:
                time.sleep(0.0002)
                yield 0
        finally:
            closed.append(True)

    delays = random.Random(1)
    interrupted = 0
    for _ in range(80):
        before = threading.active_count()
        items = source()
        next(items)
        sender = threading.Timer(delays.uniform(0, 0.004), os.kill, (os.getpid(), signal.SIGINT))
        with suppress(Interrupted), stoppable():
            sender.start()
            try:
                with read_ahead(items, depth=2) as ahead, WriteBehind(threads=1, depth=1) as writes:
                    for _ in range(4):
                        next(ahead)
                        writes.call(lambda: time.sleep(0.0002))
            except Interrupted:
                interrupted += 1
                # The sender is not through with its own end yet.
                sender.join()
                items.close()
                assert threading.active_count() == before + 1  # the one that watches for signals
                raise
            items.close()
            sender.join()
            time.sleep(0.001)
    assert closed == [True] * 80
    assert interrupted > 30


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_waits_for_the_end_of_a_block():
    done = []
    with pytest.raises(Interrupted), stoppable(), uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        done.append(True)
    assert done

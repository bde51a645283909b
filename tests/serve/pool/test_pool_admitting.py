"""What is measured of a device that joins is bounded in time, and of something at least."""

from archipel.serve.pool.admitting import taken_s


def test_what_is_timed_is_done_as_often_as_was_said() -> None:
    done: list[int] = []
    taken = taken_s(lambda: done.append(1), 7, limit_s=60.0)
    assert len(taken) == len(done) == 7
    assert min(taken) >= 0.0


def test_once_at_least_however_short_the_time() -> None:
    assert len(taken_s(lambda: None, 7, limit_s=0.0)) == 1

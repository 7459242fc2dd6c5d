from workers.platform.backoff import next_delay


def test_a_child_that_dies_at_once_waits_longer_each_time_up_to_ten_seconds() -> None:
    delays = [0.0]
    for _ in range(8):
        delays.append(next_delay(delays[-1], lived=0.1))

    assert delays[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_child_that_lived_for_half_a_minute_begins_anew() -> None:
    assert next_delay(10.0, lived=30.0) == 0.2
    assert next_delay(10.0, lived=29.9) == 10.0

"""What `/health` says: progress, and who waits for what."""

from chassis.telemetry import Health


def test_each_that_waits_says_itself_when_it_goes_on() -> None:
    health = Health(started=True)
    assert health.report()[0]
    health.waiting(ConnectionError("no store"))
    health.waiting(TimeoutError(), "timers")
    well, body = health.report()
    assert (well, body["status"]) == (False, "waiting")
    assert body["waiting_for"] == "records wait: ConnectionError('no store'); timers wait: TimeoutError()"
    health.moved()
    assert health.report()[1]["waiting_for"] == "timers wait: TimeoutError()"
    health.arrived("timers")
    well, body = health.report()
    assert (well, body["status"]) == (True, "ok")
    assert "waiting_for" not in body

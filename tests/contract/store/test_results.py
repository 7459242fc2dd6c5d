"""Celery's results on each database: written, read, forgotten, and told apart from what Celery itself would write there."""

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.backends.database import DatabaseBackend
from celery.result import AsyncResult, GroupResult
from celery.utils.imports import instantiate

from recovery.errors import RecoveryError
from recovery.store.engine import dispose
from recovery.store.sql.results import SqlResults
from workers.results import RecoveryBackend


@pytest.fixture
def app(sql_url: str) -> Iterator[Celery]:
    made = Celery("asking", broker="memory://", backend=f"workers.results:RecoveryBackend+{sql_url}", set_as_current=False)
    made.conf.update(result_extended=True)
    yield made
    dispose(made.backend._store.engine)


def request(**more: Any) -> Context:
    """Return what Celery knows of a task while it runs."""
    known = {"id": "t-1", "task": "add", "args": [1], "kwargs": {"b": 2}, "hostname": "w@here", "retries": 1}
    return Context({**known, "delivery_info": {"routing_key": "failures"}, "ignore_result": False, **more})


def test_a_result_comes_back_with_all_that_is_known_of_its_task(app: Celery) -> None:
    children = [AsyncResult("child", app=app)]
    before = datetime.now(UTC) - timedelta(seconds=1)

    app.backend.store_result("t-1", {"answer": 42}, states.SUCCESS, request=request(_children=children))

    found = AsyncResult("t-1", app=app)
    assert (found.get(timeout=60), found.status, found.name, found.args, found.kwargs) == ({"answer": 42}, "SUCCESS", "add", [1], {"b": 2})
    assert (found.worker, found.retries, found.queue) == ("w@here", 1, "failures")
    assert [child.id for child in found.children] == ["child"]
    assert before < found.date_done < before + timedelta(minutes=5)


def test_stamps_come_back(app: Celery) -> None:
    app.backend.store_result("t-1", 1, states.SUCCESS, request=request(stamped_headers=["ticket"], stamps={"ticket": "T-7"}))

    meta = app.backend.get_task_meta("t-1")

    assert (meta["stamped_headers"], meta["ticket"]) == (["ticket"], "T-7")


def test_celerys_own_backend_reads_what_is_written_here(app: Celery, sql_url: str) -> None:
    app.backend.store_result("t-1", {"answer": 42}, states.SUCCESS, request=request())
    theirs = DatabaseBackend(app=app, url=sql_url.replace("postgresql://", "postgresql+psycopg://"))

    meta = theirs.get_task_meta("t-1")
    theirs.ResultSession().get_bind().dispose()

    assert {name: meta[name] for name in ("status", "result", "args", "worker")} == {
        "status": "SUCCESS",
        "result": {"answer": 42},
        "args": [1],
        "worker": "w@here",
    }


def test_an_exception_comes_back_as_itself(app: Celery) -> None:
    app.backend.mark_as_failure("t-1", RecoveryError("no such thing"), traceback="where it was")

    found = AsyncResult("t-1", app=app)

    with pytest.raises(RecoveryError, match=r"^no such thing$"):
        found.get(timeout=60)
    assert (found.state, found.traceback) == ("FAILURE", "where it was")


def test_a_task_may_end_twice_and_stays_done(app: Celery) -> None:
    app.backend.mark_as_failure("t-1", KeyError("first"))
    app.backend.mark_as_done("t-1", "done")
    app.backend.mark_as_failure("t-1", KeyError("again"))

    assert AsyncResult("t-1", app=app).get(timeout=60) == "done"


def test_what_nobody_knows_is_pending(app: Celery) -> None:
    found = AsyncResult("t-1", app=app)

    assert (found.state, found.result, found.date_done, found.exists()) == ("PENDING", None, None, False)


def test_what_is_written_exists_until_it_is_forgotten(app: Celery) -> None:
    app.backend.mark_as_started("t-1")
    found = AsyncResult("t-1", app=app)
    before = found.exists()

    found.forget()

    assert (before, found.exists(), found.state) == (True, False, "PENDING")


def test_a_group_is_kept_and_deleted(app: Celery) -> None:
    saved = GroupResult("g-1", [AsyncResult(f"t-{number}", app=app) for number in range(3)], app=app)
    saved.save()
    saved.save()

    kept = GroupResult.restore("g-1", app=app)
    kept.delete()

    assert [result.id for result in kept.results] == ["t-0", "t-1", "t-2"]
    app.backend._cache.clear()
    assert GroupResult.restore("g-1", app=app) is None


def test_a_chord_waits_by_a_task_of_celerys_own(app: Celery) -> None:
    sent: list[tuple[Any, ...]] = []
    app.tasks["celery.chord_unlock"].apply_async = lambda args, kwargs, **_options: sent.append((args, kwargs["result"]))
    body = app.signature("some.body", queue="celery")

    app.backend.apply_chord(("g-1", [AsyncResult("t-1", app=app)]), body)

    assert sent == [(("g-1", body), [(("t-1", None), None)])]


def test_only_what_is_older_than_celery_keeps_it_is_cleaned_up(app: Celery, sql_url: str) -> None:
    backend = app.backend
    backend.mark_as_done("new", 1)
    backend.mark_as_started("at work")
    backend.mark_as_done("old", 1)
    backend.save_group("new group", AsyncResult("new", app=app))
    results, old = SqlResults(backend._store.engine), datetime.now(UTC).replace(tzinfo=None) - backend.expires - timedelta(minutes=1)
    results.forget_result("old")
    results.put_results([{"task_id": "old", "status": "SUCCESS", "date_done": old}])
    results.put_group("old group", b"null", old)

    app.tasks["celery.backend_cleanup"]()

    assert [results.result(name) is not None for name in ("new", "at work", "old")] == [True, True, False]
    assert [results.group(name) is not None for name in ("new group", "old group")] == [True, False]


def test_several_successes_are_written_at_once_but_for_those_that_nobody_wants(app: Celery) -> None:
    wanted, unwanted = request(id="t-1"), request(id="t-2", ignore_result=True)

    app.backend.put_successes([(wanted, {"n": 1}), (wanted, {"n": 1}), (unwanted, {"n": 2}), (request(id="t-0"), {"n": 0})])

    assert [AsyncResult(name, app=app).result for name in ("t-0", "t-1", "t-2")] == [{"n": 0}, {"n": 1}, None]


def test_a_backend_goes_to_another_process_with_its_address(app: Celery, sql_url: str) -> None:
    make, (kind, args, kwargs) = app.backend.__reduce__()

    copy = instantiate(kind, *args, app=app, **kwargs)

    assert pickle.loads(pickle.dumps(make)) is make
    assert (type(copy), copy.url, copy.expires) == (RecoveryBackend, sql_url, app.backend.expires)

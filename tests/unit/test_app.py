"""The app object of Celery's shape: settings, tasks, routes, discovery and schedules."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import outsourced
from outsourced import definition, tasks
from outsourced.app import base
from outsourced.app.periodic import Entry
from outsourced.errors import ConfigurationError
from outsourced.registry import registry
from outsourced.result import AsyncResult
from outsourced.schedules import crontab, schedule
from outsourced.testing import MemoryBackend


@pytest.fixture(autouse=True)
def no_app_is_left() -> Iterator[None]:
    """Whatever app a test makes is gone afterwards, with its tasks."""
    before = dict(registry._tasks)
    yield
    base._current = None
    registry._tasks = before
    definition.share(tasks.Task)


@pytest.fixture
def memory() -> Iterator[MemoryBackend]:
    with MemoryBackend() as memory:
        for name in ("mail", "feeds"):
            memory.queues.create(name)
        yield memory


def queue_of(memory: MemoryBackend, result: Any) -> str:
    job = memory.job(result.job_id)
    assert job is not None
    return job.queue


class TestSettings:
    def test_are_read_by_item_attribute_and_any_of_their_names(self) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_default_queue = "mail"
        assert app.conf["task_default_queue"] == "mail"
        app.conf.update({"CELERY_TIMEZONE": "Europe/Vienna", "CELERY_ROUTES": {"a": "b"}}, my_own=3)
        app.conf.update(SECRET_KEY="x", DEBUG=True, CELERYBEAT_SCHEDULE={})
        assert (app.conf.timezone, app.conf.task_routes, app.conf.my_own) == ("Europe/Vienna", {"a": "b"}, 3)
        assert "secret_key" not in app.conf
        assert app.conf.get("debug") is None
        assert app.conf.broker_url is None
        with pytest.raises(AttributeError, match="nonsense"):
            _ = app.conf.nonsense

    def test_come_from_objects_mappings_and_modules_in_a_namespace_or_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module: Any = ModuleType("celeryconfig")
        module.task_default_queue, module.nested = "mail", SimpleNamespace(timezone="UTC")
        monkeypatch.setitem(sys.modules, "celeryconfig", module)
        app = outsourced.Celery("shop")
        app.config_from_object("celeryconfig")
        assert app.conf.task_default_queue == "mail"
        app.config_from_object("celeryconfig:nested")
        assert app.conf.timezone == "UTC"
        app.config_from_object({"CELERY_TASK_DEFAULT_QUEUE": "feeds", "OTHER": 1}, namespace="CELERY")
        assert app.conf.task_default_queue == "feeds"
        monkeypatch.setenv("CONFIG", "celeryconfig")
        app.config_from_envvar("CONFIG")
        assert app.conf.task_default_queue == "mail"

    def test_of_a_module_that_is_not_there_are_refused(self) -> None:
        app = outsourced.Celery("shop")
        app.config_from_object("no_such.config")
        with pytest.raises(ConfigurationError, match="no_such"):
            _ = app.conf

    def test_without_effect_are_mentioned_once(self, caplog: pytest.LogCaptureFixture) -> None:
        app = outsourced.Celery("shop")
        with caplog.at_level(logging.WARNING, "outsourced.conf"):
            for _ in range(2):
                app.conf.update(broker_url="redis://", result_backend="rpc://", accept_content=["json"], x=1)
            app.conf.task_serializer = "pickle"
        assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
            "no effect here: broker_url, result_backend",
            "no effect here: task_serializer",
        ]

    def test_tell_how_long_results_are_kept(self) -> None:
        app = outsourced.Celery("shop")
        assert app.conf.results_kept_for is None
        for given in (3600, timedelta(hours=1)):
            app.conf.result_expires = given
            assert app.conf.results_kept_for == timedelta(hours=1)

    def test_on_after_configure_comes_once_and_for_late_comers_at_once(self) -> None:
        app, told = outsourced.Celery("shop"), []

        @app.on_after_configure.connect
        def early(sender: Any, **extra: Any) -> None:
            told.append((sender, sender.conf.timezone))

        app.config_from_object({"timezone": "UTC"})
        assert told == []
        _ = app.conf, app.conf
        assert told == [(app, "UTC")]
        app.on_after_configure.connect(lambda sender: told.append(("late", sender)))
        assert told[1:] == [("late", app)]


class TestTasks:
    def test_belong_to_the_app_and_take_its_class(self) -> None:
        app = outsourced.Celery("shop")

        @app.task
        def early() -> None: ...

        class Contextual(outsourced.Task[..., Any]):
            max_retries = 7
            calls = 0

            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                type(self).calls += 1
                return super().__call__(*args, **kwargs)

        app.Task = Contextual

        @app.task(name="late", bind=True)
        def late(self: Any) -> Any:
            return self.app

        assert isinstance(early, Contextual)
        assert (early.app, early.retry_policy.max_retries) == (app, 7)
        assert late() is app
        assert vars(type(late))["calls"] == 1  # each task has a class of its own, as in Celery
        assert app.tasks["late"] is late
        assert "late" in app.tasks
        assert {early.name, "late"} <= set(app.tasks)

    def test_that_are_instances_of_a_class_are_registered(self, memory: MemoryBackend) -> None:
        app = outsourced.Celery("shop")

        class Convert(app.Task):  # type: ignore[misc, name-defined]
            name = "convert"

            def run(self, pages: int) -> list[Any]:
                return [pages, self.app.main, self.queue]

        convert = app.register_task(Convert(), queue="mail")
        assert app.tasks["convert"] is convert
        result = convert.delay(3)
        memory.drain()
        assert result.get() == [3, "shop", "mail"]
        with pytest.raises(TypeError, match="'colour'"):
            app.register_task(Convert(), colour="red")

    def test_that_are_shared_take_the_class_of_the_current_app_before_and_after(
        self, memory: MemoryBackend
    ) -> None:
        @outsourced.shared_task(max_retries=1)
        def before() -> str:
            return "done"

        class Counting(outsourced.Task[..., Any]):
            count = 0
            max_retries = 7

            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                Counting.count += 1
                return self.run(*args, **kwargs)

        app = outsourced.Celery("shop", task_cls=Counting)

        @outsourced.shared_task
        def after() -> str:
            return "done"

        assert (before.app, after.app) == (app, app)
        assert (before.retry_policy.max_retries, after.retry_policy.max_retries) == (1, 7)
        results = [before.delay(), after.delay()]
        memory.drain()
        assert [result.get() for result in results] == ["done", "done"]
        assert Counting.count == 2

    def test_called_through_super_under_a_lease_keep_their_request(self, memory: MemoryBackend) -> None:
        class Passing(outsourced.Task[..., Any]):
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                return super().__call__(*args, **kwargs)

        @outsourced.task(base=Passing, bind=True, default_retry_delay=0)
        def stubborn(self: Any) -> tuple[int, bool]:
            if self.request.retries == 0:
                self.retry()
            return self.request.retries, self.request.called_directly

        result = stubborn.delay()
        memory.drain()
        assert result.get() == (1, False)
        assert outsourced.Celery("shop").current_task is None

    def test_of_a_main_program_are_named_after_the_app(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def add() -> None: ...

        add.__module__ = "__main__"
        assert outsourced.Celery("proj.tasks").task(add).name == "proj.tasks.add"

    def test_ignore_results_as_the_app_says_unless_they_say_it_themselves(self) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_ignore_result = True

        @app.task
        def quiet() -> None: ...

        @app.task(ignore_result=False)
        def loud() -> None: ...

        assert (quiet.ignore_result, loud.ignore_result) == (True, False)

    def test_have_the_attributes_that_the_settings_annotate(self, memory: MemoryBackend) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_annotations = {"early": {"max_retries": 7, "queue": "mail"}, "*": {"priority": 5}}
        early = app.task(name="early")(lambda: None)
        plain = app.task(name="plain", priority=1)(lambda: None)
        assert early.max_retries == 3
        app.finalize()
        late = app.task(name="late")(lambda: None)
        assert (early.max_retries, queue_of(memory, early.delay())) == (7, "mail")
        assert [task.priority for task in (early, plain, late)] == [5, 5, 5]

    @pytest.mark.parametrize(
        "annotations", ["mail", {"early": "10/m"}, [{"*": {"@retry": print}}], [{"early": {}}, 3]]
    )
    def test_cannot_be_annotated_by_what_is_no_attribute(self, annotations: Any) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_annotations = annotations
        app.task(name="early")(lambda: None)
        with pytest.raises(ConfigurationError, match="task_annotations"):
            app.finalize()

    def test_have_the_first_annotations_that_are_of_them(self) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_annotations = (
            {"early": {"max_retries": 1}},
            {"early": {"max_retries": 2, "priority": 3}},
        )
        early = app.task(name="early")(lambda: None)
        app.finalize()
        assert (early.max_retries, early.priority) == (1, None)

    def test_are_held_to_the_limits_of_the_app_where_they_have_none(self, memory: MemoryBackend) -> None:
        app = outsourced.Celery("shop")
        app.conf.update(task_time_limit=60, task_soft_time_limit=50)

        @app.task(name="plain", bind=True)
        def plain(self: Any) -> Any:
            return self.request.timelimit

        @app.task(name="own", bind=True, time_limit=70)
        def own(self: Any) -> Any:
            return self.request.timelimit

        results = [plain.delay(), own.delay(), plain.apply_async(time_limit=80)]
        memory.drain()
        assert [result.get() for result in results] == [(60, 50), (70, 50), (80, 50)]
        assert plain.apply().get() == (60, 50)


class TestRoutes:
    ROUTES = (
        {"feeds.*": {"queue": "feeds", "priority": 3}, "feeds.mail": "mail"},
        [("feeds.mail", {"queue": "mail"}), (re.compile(r"feeds\..*"), "feeds")],
        lambda name, args, kwargs, options, task=None, **extra: (
            "mail" if name == "feeds.mail" else {"queue": "feeds"}
        ),
        [{"nothing": "x"}, {"feeds.mail": "mail"}, ("feeds.*", "feeds")],
    )

    @pytest.mark.parametrize("routes", ROUTES)
    def test_choose_the_queue(self, memory: MemoryBackend, routes: Any) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_routes = routes
        assert queue_of(memory, app.send_task("feeds.mail")) == "mail"
        assert queue_of(memory, app.send_task("feeds.read")) == "feeds"

    def test_give_way_to_tasks_and_calls(self, memory: MemoryBackend) -> None:
        app = outsourced.Celery("shop")
        app.conf.update(task_routes={"*": {"queue": "feeds", "priority": 4}}, task_default_queue="default")

        @app.task(queue="mail", priority=0)
        def send() -> None: ...

        assert queue_of(memory, send.delay()) == "mail"
        assert queue_of(memory, send.apply_async(queue="default")) == "default"
        sent, routed = memory.job(send.delay().job_id), memory.job(app.send_task("any").job_id)
        assert sent is not None
        assert routed is not None
        assert (sent.priority, routed.priority) == (0, 4)

    def test_are_followed_by_the_defaults(self, memory: MemoryBackend) -> None:
        app = outsourced.Celery("shop")
        app.conf.update(task_default_queue="mail", task_default_priority=5)
        job = memory.job(app.send_task("any").job_id)
        assert job is not None
        assert (job.queue, job.priority) == ("mail", 5)

    def test_that_are_none_are_refused(self, memory: MemoryBackend) -> None:
        app = outsourced.Celery("shop")
        app.conf.task_routes = ["myapp.routers.Router"]
        with pytest.raises(TypeError, match="task_routes"):
            app.send_task("any")


class TestModules:
    @pytest.fixture
    def packages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for package in ("disc_one", "disc_two"):
            (tmp_path / package).mkdir()
            (tmp_path / package / "__init__.py").touch()
        (tmp_path / "disc_one" / "tasks.py").write_text(
            "import outsourced\n@outsourced.shared_task\ndef found(): ...\n"
        )
        (tmp_path / "disc_three.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        yield
        for name in [name for name in sys.modules if name.startswith("disc_")]:
            del sys.modules[name]

    @pytest.mark.usefixtures("packages")
    def test_with_tasks_are_imported_when_tasks_are_asked_for(self) -> None:
        app, told = outsourced.Celery("shop", include=["disc_three"]), []
        app.on_after_finalize.connect(lambda sender, **extra: told.append(sender))
        app.autodiscover_tasks(lambda: ["disc_one", "disc_two"])
        assert "disc_three" not in sys.modules
        assert "disc_one.tasks.found" in app.tasks
        assert "disc_three" in sys.modules
        app.finalize()
        assert told == [app]

    @pytest.mark.usefixtures("packages")
    def test_are_imported_at_once_if_forced(self) -> None:
        outsourced.Celery("shop").autodiscover_tasks(["disc_one"], force=True)
        assert "disc_one.tasks.found" in registry

    @pytest.mark.usefixtures("packages")
    def test_whose_import_fails_say_so(self, tmp_path: Path) -> None:
        (tmp_path / "disc_two" / "tasks.py").write_text("import disc_nowhere")
        app = outsourced.Celery("shop")
        app.autodiscover_tasks(["disc_two"])
        with pytest.raises(ModuleNotFoundError, match="disc_nowhere"):
            _ = app.tasks


class TestSchedules:
    def test_come_from_settings_and_calls(self) -> None:
        app = outsourced.Celery("shop")

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        app.conf.beat_schedule = {
            "often": {"task": "add", "schedule": 30.0, "args": (1, 2), "options": {"queue": "mail"}},
            "nightly": {"task": "add", "schedule": crontab(0, 3)},
        }

        @app.on_after_configure.connect
        def more(sender: Any, **extra: Any) -> None:
            sender.add_periodic_task(10, add, args=(3, 4), name="more", expires=10)
            sender.add_periodic_task(crontab(0), add.s(5, y=6).set(queue="mail"), name="signed")

        assert {entry.name: entry for entry in app.periodic_tasks} == {
            "often": Entry(
                name="often", task="add", schedule=schedule(30), args=(1, 2), options={"queue": "mail"}
            ),
            "nightly": Entry(name="nightly", task="add", schedule=crontab(0, 3)),
            "more": Entry(
                name="more", task="add", schedule=schedule(10), args=(3, 4), options={"expires": 10}
            ),
            "signed": Entry(
                name="signed",
                task="add",
                schedule=crontab(0),
                args=(5,),
                kwargs={"y": 6},
                options={"queue": "mail"},
            ),
        }
        assert app.add_periodic_task(10, add, (1, 2)) == "add(1, 2) every 10"

    def test_are_of_one_call(self) -> None:
        app = outsourced.Celery("shop")
        call = outsourced.signature("add", (1, 2))
        for whole in (call | call, outsourced.group(call, call), call.clone().on_error(call)):
            with pytest.raises(TypeError, match="one call"):
                app.add_periodic_task(10, whole)

    @pytest.mark.parametrize(
        "entry", [{}, {"task": "add"}, {"task": "add", "schedule": "x"}, {"task": 3, "schedule": 3}, 7]
    )
    def test_that_are_none_are_refused_by_name(self, entry: Any) -> None:
        app = outsourced.Celery("shop")
        app.conf.beat_schedule = {"nightly": entry}
        with pytest.raises(ConfigurationError, match="nightly"):
            _ = app.periodic_tasks


def test_current_app_is_the_last_one_or_the_default() -> None:
    assert outsourced.current_app.main == "default"
    one, two = outsourced.Celery("one"), outsourced.Celery("two")
    assert outsourced.current_app.main == "two"
    one.set_default()
    assert outsourced.current_app.main == "one"
    outsourced.Celery("aside", set_as_current=False)
    assert (outsourced.current_app.main, two.main) == ("one", "two")


def test_an_app_makes_signatures_and_results_as_celerys() -> None:
    app = outsourced.Celery("shop", changes={"timezone": "Europe/Vienna"})

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    assert app.signature("add", (1, 2)) == add.s(1, 2)
    id = outsourced.uuid()
    assert id != outsourced.uuid()
    assert app.AsyncResult(id) == AsyncResult(id, app=app) == add.AsyncResult(id)
    assert AsyncResult(id, None, "add", app).task_id == id
    both = app.ResultSet([app.AsyncResult(id)])
    assert app.GroupResult("a-group", both.results).results == both.results
    assert (str(app.timezone), app.now().utcoffset()) in [
        ("Europe/Vienna", timedelta(hours=hours)) for hours in (1, 2)
    ]

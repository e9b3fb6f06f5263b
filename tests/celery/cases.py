"""The cases: what an ordinary application relies on, each asked of Celery and of outsourced."""


# mypy: ignore-errors

from __future__ import annotations

import datetime
import decimal
import time
import uuid

from tests.celery.api import CASES, Api, Case, case, ended, kind

# --- values ---------------------------------------------------------------------------------------------

VALUES = {
    "int": 3,
    "negative": -1,
    "float": 1.5,
    "text": "grüß dich",
    "empty": "",
    "none": None,
    "true": True,
    "list": [1, [2, 3]],
    "dict": {"a": {"b": [None]}},
    "tuple": (1, 2),
}
for name, value in VALUES.items():

    def build(api: Api, value=value):
        @api.task()
        def echo(x):
            return x

        return lambda: api.end(echo, value)

    CASES.append(Case(f"value_{name}", build))

TYPED = {
    "datetime": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "date": datetime.date(2026, 1, 2),
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=5),
}
for name, value in TYPED.items():

    def build_typed(api: Api, value=value):
        @api.task()
        def tell(x):
            return [type(x).__name__, str(x)]

        return lambda: api.end(tell, value)

    CASES.append(Case(f"argument_{name}", build_typed))

# --- failures -------------------------------------------------------------------------------------------

ERRORS = {
    "value": ValueError("no"),
    "key": KeyError("a"),
    "bare": RuntimeError(),
    "os": OSError("gone"),
    "zero": ZeroDivisionError("by zero"),
    "assertion": AssertionError("wrong"),
    "lookup": IndexError(3),
}
for name, error in ERRORS.items():

    def build_error(api: Api, error=error):
        @api.task()
        def fail():
            raise error

        return lambda: api.end(fail)

    CASES.append(Case(f"raises_{name}", build_error))


@case()
def failure_without_propagation(api):
    @api.task()
    def fail():
        raise ValueError("no")

    def run():
        result = api.send(fail)
        error = result.get(timeout=10, propagate=False, interval=0.01)
        return [kind(error), str(error), result.failed(), result.successful(), result.ready()]

    return run


@case()
def traceback_names_the_function(api):
    @api.task()
    def here_it_breaks():
        raise ValueError("no")

    def run():
        result = api.send(here_it_breaks)
        ended(result)
        return ["here_it_breaks" in str(result.traceback), "ValueError: no" in str(result.traceback)]

    return run


@case()
def success_answers_all_questions(api):
    @api.task()
    def one():
        return 1

    def run():
        result = api.send(one)
        return [
            result.get(timeout=10, interval=0.01),
            result.ready(),
            result.successful(),
            result.failed(),
            result.result,
        ]

    return run


@case()
def throws_is_a_failure_all_the_same(api):
    @api.task(throws=(KeyError,))
    def fail():
        raise KeyError("x")

    return lambda: api.end(fail)


# --- arguments ------------------------------------------------------------------------------------------


def refusal(api, make):
    try:
        return ended(make())
    except TypeError:
        return "TypeError"


def build_refusals():
    for name, (args, kwargs) in {
        "missing": ((), {}),
        "too_many": ((1, 2, 3), {}),
        "unknown_keyword": ((1, 2), {"c": 1}),
        "twice": ((1, 2), {"a": 1}),
    }.items():

        def build(api, args=args, kwargs=kwargs):
            @api.task()
            def add(a, b):
                return a + b

            return lambda: refusal(api, lambda: add.apply_async(args, kwargs))

        CASES.append(Case(f"arguments_{name}", build, eager=False))


build_refusals()


@case(eager=False)
def arguments_unchecked_fail_where_it_runs(api):
    @api.task(typing=False)
    def add(a, b):
        return a + b

    return lambda: api.end(add, 1)[:2]


@case()
def arguments_by_keyword_and_default(api):
    @api.task()
    def join(a, b="b", *rest, c="c", **more):
        return [a, b, list(rest), c, more]

    return lambda: [api.end(join, 1), api.end(join, 1, 2, 3, kwargs={"c": 4, "d": 5})]


# --- names, binding, calling ----------------------------------------------------------------------------


@case()
def explicit_name(api):
    @api.task(name="given.name", bind=True)
    def anything(self):
        return [self.name, self.request.task]

    return lambda: [anything.name, api.end(anything)]


@case()
def looks_like_its_function(api):
    @api.task()
    def documented():
        """Says so."""

    return lambda: [documented.__name__, documented.__doc__]


@case()
def calling_it_runs_it_here(api):
    @api.task(bind=True)
    def look(self, x):
        return [x, self.request.called_directly, self.request.id, self.request.retries]

    return lambda: look(5)


@case()
def calling_it_raises_what_it_raises(api):
    @api.task()
    def fail():
        raise ValueError("plain")

    def run():
        try:
            fail()
        except ValueError as error:
            return str(error)

    return run


@case()
def calling_another_task_inline(api):
    @api.task(bind=True)
    def inner(self):
        return self.request.called_directly

    @api.task(bind=True)
    def outer(self):
        return [inner(), self.request.called_directly]

    return lambda: api.end(outer)


@case()
def request_of_a_job(api):
    @api.task(bind=True)
    def look(self, x, y=0):
        r = self.request
        return [
            list(r.args),
            dict(r.kwargs),
            r.retries,
            r.called_directly,
            r.is_eager,
            r.root_id == r.id,
            r.parent_id,
            r.group,
            r.chord,
            r.chain,
            r.eta,
            r.expires,
        ]

    return lambda: api.end(look, 1, kwargs={"y": 2})


@case()
def request_id_is_the_results(api):
    @api.task(bind=True)
    def look(self):
        return self.request.id

    def run():
        result = api.send(look)
        return result.get(timeout=10, interval=0.01) == result.id

    return run


@case(eager=False)
def request_correlation_id(api):
    @api.task(bind=True)
    def look(self):
        return self.request.correlation_id == self.request.id

    return lambda: api.end(look)


@case()
def headers_arrive(api):
    @api.task(bind=True)
    def look(self):
        return self.request.headers

    return lambda: api.end(look, headers={"tenant": "a"})


@case(eager=False)
def headers_are_attributes_of_the_request(api):
    @api.task(bind=True)
    def look(self):
        return [self.request.tenant, self.request.get("nothing")]

    return lambda: api.end(look, headers={"tenant": "a"})


@case()
def time_limits_are_in_the_request(api):
    @api.task(bind=True, time_limit=50, soft_time_limit=40)
    def look(self):
        return list(self.request.timelimit)

    return lambda: api.end(look)


@case(eager=False, differs="Celery looks at the limits of the task only, not at those of the call")
def soft_limit_beyond_the_hard_one(api):
    @api.task()
    def nothing():
        pass

    def run():
        try:
            nothing.apply_async(soft_time_limit=5, time_limit=2)
        except ValueError as error:
            return str(error)

    return run


@case()
def given_task_id(api):
    @api.task(bind=True)
    def look(self):
        return self.request.id

    given = str(uuid.uuid4())
    return lambda: api.end(look, task_id=given)[1] == given


@case(eager=False)
def nested_jobs_know_their_parent(api):
    @api.task(bind=True)
    def child(self):
        return [self.request.parent_id, self.request.root_id]

    @api.task(bind=True)
    def parent(self):
        result = child.delay()
        return [result.id, self.request.id, [one.id for one in self.request.children] == [result.id]]

    def run():
        child_id, parent_id, has_children = api.send(parent).get(timeout=10, interval=0.01)
        api.settle()
        return [
            has_children,
            child.AsyncResult(child_id).get(timeout=10, interval=0.01) == [parent_id, parent_id],
        ]

    return run


@case(eager=False, differs="Celery refuses it in its pool of processes only; here no pool waits for itself")
def waiting_inside_a_task_is_refused(api):
    @api.task()
    def child():
        return 1

    @api.task()
    def parent():
        try:
            child.delay().get(timeout=1)
        except RuntimeError:
            return "refused"

    return lambda: api.end(parent)


@case(eager=False)
def ignored_result(api):
    @api.task(ignore_result=True)
    def work():
        api.seen.append("ran")
        return 1

    def run():
        result = api.send(work)
        value = result.get(timeout=10, interval=0.01)
        wait_for(api, "ran")
        return [value, api.seen]

    return run


def wait_for(api, mark):
    for _ in range(200):
        if mark in api.seen:
            return
        datetime_wait(0.02)


def datetime_wait(seconds):
    time.sleep(seconds)


@case(eager=False)
def expired_before_it_began(api):
    @api.task()
    def late():
        api.seen.append("ran")

    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return lambda: [api.end(late, expires=past)[:2], api.seen]


@case(eager=False)
def eta_in_the_past_runs_at_once(api):
    @api.task()
    def one():
        return 1

    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return lambda: api.end(one, eta=past)


@case()
def harmless_options_are_taken(api):
    @api.task()
    def one():
        return 1

    return lambda: api.end(one, retry=True, retry_policy={"max_retries": 1}, serializer="json", shadow="s")


# --- base classes and hooks -----------------------------------------------------------------------------


def hooked(api):
    class Hooked(api.base):
        def before_start(self, task_id, args, kwargs):
            api.seen.append(["before_start", list(args), dict(kwargs)])

        def on_success(self, retval, task_id, args, kwargs):
            api.seen.append(["on_success", retval, list(args), dict(kwargs)])

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            api.seen.append(["on_failure", kind(exc), str(exc), list(args), "Traceback" in str(einfo)])

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            api.seen.append(["on_retry", kind(exc), str(exc), list(args), "Traceback" in str(einfo)])

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            value = kind(retval) if isinstance(retval, BaseException) else retval
            api.seen.append(["after_return", status, value, list(args)])

    return Hooked


@case()
def hooks_of_a_success(api):
    @api.task(base=hooked(api))
    def add(a, b):
        api.seen.append("body")
        return a + b

    return lambda: [api.end(add, 1, kwargs={"b": 2}), api.seen]


@case()
def hooks_of_a_failure(api):
    @api.task(base=hooked(api))
    def fail(a):
        raise ValueError(a)

    return lambda: [api.end(fail, 1), api.seen]


@case()
def hooks_of_a_retry(api):
    @api.task(base=hooked(api), bind=True, max_retries=2, default_retry_delay=0)
    def flaky(self, a):
        if self.request.retries < 2:
            raise self.retry(exc=ValueError(f"try {self.request.retries}"))
        return a

    return lambda: [api.end(flaky, 1), api.seen]


@case()
def hooks_when_retries_are_used_up(api):
    @api.task(base=hooked(api), bind=True, max_retries=1, default_retry_delay=0)
    def flaky(self):
        raise self.retry(exc=ValueError("always"))

    return lambda: [api.end(flaky), api.seen]


@case()
def hooks_of_an_automatic_retry(api):
    @api.task(
        base=hooked(api),
        autoretry_for=(ValueError,),
        max_retries=1,
        default_retry_delay=0,
        retry_jitter=False,
    )
    def flaky():
        raise ValueError("always")

    return lambda: [api.end(flaky), api.seen]


@case()
def before_start_that_raises_fails_the_task(api):
    class Refusing(api.base):
        def before_start(self, task_id, args, kwargs):
            raise ValueError("not today")

    @api.task(base=Refusing)
    def work():
        api.seen.append("ran")

    return lambda: [api.end(work), api.seen]


@case(eager=False)
def on_success_that_raises_changes_nothing(api):
    class Broken(api.base):
        def on_success(self, retval, task_id, args, kwargs):
            raise ValueError("broken hook")

    @api.task(base=Broken)
    def work():
        return 1

    return lambda: api.end(work)


@case()
def base_class_gives_options(api):
    class Patient(api.base):
        max_retries = 1
        default_retry_delay = 0
        autoretry_for = (KeyError,)

    @api.task(base=Patient, bind=True)
    def flaky(self):
        api.seen.append(self.request.retries)
        raise KeyError("x")

    return lambda: [flaky.max_retries, api.end(flaky), api.seen]


@case()
def base_class_shares_state_between_calls(api):
    class Connected(api.base):
        _connection = None

        @property
        def connection(self):
            if self._connection is None:
                self._connection = object()
                api.seen.append("connected")
            return self._connection

    @api.task(base=Connected, bind=True)
    def work(self):
        return self.connection is not None

    return lambda: [api.end(work), api.end(work), api.seen]


@case()
def base_class_init_without_super(api):
    class Making(api.base):
        def __init__(self):
            self.users = {"george": "password"}

    @api.task(base=Making, bind=True)
    def look(self, user):
        return self.users[user]

    return lambda: api.end(look, "george")


@case()
def base_class_call_surrounds_the_function(api):
    class Contextual(api.base):
        def __call__(self, *args, **kwargs):
            api.seen.append("enter")
            try:
                return self.run(*args, **kwargs)
            finally:
                api.seen.append("leave")

    @api.task(base=Contextual)
    def work(x):
        api.seen.append("body")
        return x

    return lambda: [api.end(work, 1), work(2), api.seen]


@case(eager=False)
def base_class_call_through_super_keeps_the_request(api):
    class Contextual(api.base):
        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs)

    @api.task(base=Contextual, bind=True)
    def look(self):
        return [self.request.called_directly, self.request.id is not None]

    return lambda: api.end(look)


@case()
def own_option_of_a_base_class(api):
    class Tagged(api.base):
        tag = "none"

    @api.task(base=Tagged, tag="mine", bind=True)
    def look(self):
        return self.tag

    return lambda: api.end(look)


# --- retries --------------------------------------------------------------------------------------------


@case()
def retry_until_it_works(api):
    @api.task(bind=True, default_retry_delay=0)
    def flaky(self):
        api.seen.append(self.request.retries)
        if self.request.retries < 3:
            self.retry()
        return "at last"

    return lambda: [api.end(flaky), api.seen]


@case()
def retry_without_exc_ends_in_max_retries_exceeded(api):
    @api.task(bind=True, max_retries=1, default_retry_delay=0)
    def flaky(self):
        self.retry()

    return lambda: api.end(flaky)[:2]


@case()
def retry_raises_the_given_exception_in_the_end(api):
    @api.task(bind=True, max_retries=0)
    def flaky(self):
        self.retry(exc=ConnectionError("down"))

    return lambda: api.end(flaky)


@case()
def retry_in_an_except_block(api):
    @api.task(bind=True, max_retries=1, default_retry_delay=0)
    def flaky(self):
        try:
            raise KeyError("k")
        except KeyError as error:
            self.retry(exc=error)

    return lambda: api.end(flaky)


@case()
def retry_with_a_budget_of_this_call(api):
    @api.task(bind=True, max_retries=5, default_retry_delay=0)
    def flaky(self):
        api.seen.append(self.request.retries)
        self.retry(exc=ValueError("x"), max_retries=1)

    return lambda: [api.end(flaky), api.seen]


@case()
def retry_for_ever(api):
    @api.task(bind=True, max_retries=None, default_retry_delay=0)
    def flaky(self):
        if self.request.retries < 6:
            self.retry()
        return self.request.retries

    return lambda: api.end(flaky)


@case()
def retry_countdown_zero(api):
    @api.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return "again"

    return lambda: api.end(flaky)


@case()
def retry_keeps_the_id(api):
    @api.task(bind=True, default_retry_delay=0)
    def flaky(self):
        api.seen.append(self.request.id)
        if not self.request.retries:
            self.retry()

    def run():
        api.end(flaky)
        return [len(api.seen), len(set(api.seen))]

    return run


@case()
def retry_called_directly_raises_the_exception(api):
    @api.task(bind=True)
    def flaky(self):
        self.retry(exc=ValueError("direct"))

    def run():
        try:
            flaky()
        except ValueError as error:
            return str(error)

    return run


@case()
def retry_called_directly_without_exc(api):
    @api.task(bind=True)
    def flaky(self):
        self.retry()

    def run():
        try:
            flaky()
        except Exception as error:
            return kind(error)

    return run


@case()
def autoretry_for_these_alone(api):
    @api.task(autoretry_for=(KeyError,), default_retry_delay=0, max_retries=2)
    def fail(name):
        api.seen.append(name)
        raise {"key": KeyError, "value": ValueError}[name](name)

    return lambda: [api.end(fail, "key"), api.end(fail, "value"), api.seen]


@case()
def autoretry_for_subclasses_but_not_those(api):
    @api.task(
        autoretry_for=(LookupError,), dont_autoretry_for=(IndexError,), default_retry_delay=0, max_retries=1
    )
    def fail(name):
        api.seen.append(name)
        raise {"key": KeyError, "index": IndexError}[name](name)

    return lambda: [api.end(fail, "key"), api.end(fail, "index"), api.seen]


@case()
def autoretry_with_its_own_budget(api):
    @api.task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 0}, max_retries=5)
    def fail():
        api.seen.append("try")
        raise ValueError("x")

    return lambda: [api.end(fail), api.seen]


@case(eager=False)
def ignore_passes_through_autoretry(api):
    @api.task(autoretry_for=(Exception,), default_retry_delay=0)
    def skip():
        api.seen.append("ran")
        raise api.exceptions.Ignore

    def run():
        api.send(skip)
        wait_for(api, "ran")
        return api.seen

    return run


@case()
def ignore_here_and_now(api):
    @api.task()
    def skip():
        raise api.exceptions.Ignore

    return lambda: api.send(skip).state if api.eager else "IGNORED"


@case(eager=False)
def rejected(api):
    @api.task()
    def refuse():
        api.seen.append("ran")
        raise api.exceptions.Reject("no")

    def run():
        result = api.send(refuse)
        wait_for(api, "ran")
        return result.state

    return run


@case(eager=False, differs="an id nobody knows raises NotFound at once; Celery waits for it")
def unknown_id(api):
    @api.task()
    def nothing():
        pass

    def run():
        result = nothing.AsyncResult(str(uuid.uuid4()))
        try:
            result.get(timeout=0.2)
        except Exception as error:
            return [result.state, kind(error)]

    return run


# --- signals --------------------------------------------------------------------------------------------

RUNNING = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")


def listening(api, names):
    kept = []
    for name in names:

        def note(sender=None, name=name, **facts):
            facts.pop("signal")
            api.seen.append([name, getattr(sender, "name", sender), sorted(facts)])

        getattr(api.signals, name).connect(note, weak=False)
        kept.append((getattr(api.signals, name), note))

    def stop():
        for signal, note in kept:
            signal.disconnect(note)

    return stop


def signalled(api, task, *args):
    stop = listening(api, RUNNING)
    try:
        outcome = api.end(task, *args)
        for _ in range(100):
            if api.seen and api.seen[-1][0] == "task_postrun":
                break
            datetime_wait(0.02)
    finally:
        stop()
    mine = [one for one in api.seen if one[1] == task.name]
    for one in mine:
        one[2] = [fact for fact in one[2] if fact != "runtime"]
    return [outcome[0], mine]


@case()
def signals_of_a_success(api):
    @api.task(name="signals.success")
    def work():
        return 1

    return lambda: signalled(api, work)


@case()
def signals_of_a_failure(api):
    @api.task(name="signals.failure")
    def work():
        raise ValueError("x")

    return lambda: signalled(api, work)


@case()
def signals_of_a_retry(api):
    @api.task(name="signals.retry", bind=True, max_retries=1, default_retry_delay=0)
    def work(self):
        self.retry(exc=ValueError("x"))

    return lambda: signalled(api, work)


@case(eager=False)
def signals_of_publishing(api):
    @api.task(name="signals.published")
    def work(x):
        return x

    def run():
        def before(sender=None, body=None, headers=None, **facts):
            if sender == "signals.published":
                api.seen.append(["before", list(body[0]), body[1], headers["task"], headers["retries"]])

        def after(sender=None, body=None, headers=None, **facts):
            if sender == "signals.published":
                api.seen.append(["after", list(body[0]), headers["task"]])

        api.signals.before_task_publish.connect(before)
        api.signals.after_task_publish.connect(after)
        outcome = api.end(work, 1)
        api.signals.before_task_publish.disconnect(before)
        api.signals.after_task_publish.disconnect(after)
        return [outcome, api.seen]

    return run


@case(eager=False)
def header_added_when_published(api):
    @api.task(name="signals.header", bind=True)
    def look(self):
        return [self.request.trace, self.request.headers["trace"]]

    def run():
        def add(sender=None, headers=None, **facts):
            if sender == "signals.header":
                headers["trace"] = "t1"

        api.signals.before_task_publish.connect(add)
        try:
            return api.end(look)
        finally:
            api.signals.before_task_publish.disconnect(add)

    return run


@case()
def receiver_that_raises_harms_nobody(api):
    @api.task(name="signals.broken")
    def work():
        return 1

    def run():
        def broken(sender=None, **facts):
            raise ValueError("broken receiver")

        api.signals.task_prerun.connect(broken)
        try:
            return api.end(work)
        finally:
            api.signals.task_prerun.disconnect(broken)

    return run


@case()
def receiver_of_one_task(api):
    @api.task(name="signals.one")
    def one():
        return 1

    @api.task(name="signals.other")
    def other():
        return 2

    def run():
        def note(sender=None, **facts):
            api.seen.append(sender.name)

        api.signals.task_prerun.connect(note, sender=one)
        api.end(one)
        api.end(other)
        api.signals.task_prerun.disconnect(note, sender=one)
        api.end(one)
        return api.seen

    return run


@case()
def pydantic_arguments(api):
    import pydantic

    class Argument(pydantic.BaseModel):
        value: int

    class Result(pydantic.BaseModel):
        twice: int

    def double(arg: Argument, maybe: Argument | None = None) -> Result:
        return Result(twice=arg.value * 2)

    double.__annotations__ = {"arg": Argument, "maybe": Argument | None, "return": Result}
    task = api.task(pydantic=True)(double)
    return lambda: [api.end(task, {"value": 4}), api.end(task, {"value": "x"})[0]]


# --- a state of its own ---------------------------------------------------------------------------------


def until(fact, seconds=5.0):
    """Whether the fact has come true in time."""
    deadline = time.monotonic() + seconds
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.01)
    return fact()


def seen_by(task, state):
    """What others see of the task that runs here, once it is in this state."""
    result = task.AsyncResult(task.request.id)
    until(lambda: result.state == state)
    return [result.state, result.info, result.result, result.ready(), result.successful(), result.failed()]


@case(eager=False)
def update_state_shows_a_state_of_its_own(api):
    @api.task(bind=True)
    def tell(self):
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
        api.seen.append(seen_by(self, "PROGRESS"))
        self.update_state(state="NEARLY", meta=[2])
        api.seen.append(seen_by(self, "NEARLY"))
        return "done"

    return lambda: [api.end(tell), api.seen]


@case(eager=False)
def update_state_with_its_own_id(api):
    @api.task(bind=True)
    def tell(self):
        self.update_state(task_id=self.request.id, state="HALF", meta=None)
        return seen_by(self, "HALF")

    return lambda: api.end(tell)


@case()
def update_state_is_over_when_the_task_ends(api):
    @api.task(bind=True)
    def tell(self, fail):
        self.update_state(state="PROGRESS", meta={"a": 1})
        if fail:
            raise ValueError("no")
        return 1

    return lambda: [api.end(tell, False), api.end(tell, True)]


def told_failures(meta):
    """A task that says how it failed, and is to be ignored then; or goes on as if it had not."""

    def build(api):
        @api.task(bind=True)
        def tell(self, then):
            self.update_state(state="FAILURE", meta=meta)
            if then == "ignore":
                raise api.exceptions.Ignore
            if then == "raise":
                raise KeyError("other")
            return 1

        return lambda: [api.end(tell, then) for then in ("ignore", "raise", "return")]

    return build


for name, meta in {
    "in_celerys_words": {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"},
    "without_a_module": {"exc_type": "LookupError", "exc_message": "no"},
    "as_an_exception": ValueError("no"),
}.items():
    CASES.append(Case(f"update_state_failure_{name}", told_failures(meta), eager=False))


@case(differs="only its own job's: another one has a state that somebody else vouches for")
def update_state_of_another_task(api):
    @api.task(bind=True)
    def tell(self):
        self.update_state(task_id="another", state="X")
        return 1

    return lambda: api.end(tell)


@case(eager=False, differs="nothing happens: there is no job to show it")
def update_state_called_directly(api):
    @api.task(bind=True)
    def tell(self):
        self.update_state(state="X", meta=1)
        return 1

    def run():
        try:
            return tell()
        except ValueError:
            return "ValueError"

    return run


@case(eager=False, differs="an exception is told as Celery tells it with state RETRY")
def update_state_with_an_exception(api):
    @api.task(bind=True)
    def tell(self):
        self.update_state(state="PROGRESS", meta=ValueError("no"))
        return seen_by(self, "PROGRESS")[1]

    return lambda: api.end(tell)[:2]


# --- what is below, and above ---------------------------------------------------------------------------


@case(eager=False)
def children_are_what_a_task_enqueued(api):
    @api.task()
    def leaf(x):
        return x

    @api.task()
    def root():
        leaf.delay(1)
        leaf.delay(2)
        return "root"

    def run():
        result = api.send(root)
        result.get(timeout=10, interval=0.01)
        children = result.children
        return [
            [child.get(timeout=10, interval=0.01) for child in children],
            children[0].children,
            [value for _, value in result.collect(timeout=10, interval=0.01)],
            [(above and above == result, node == result) for above, node in result.iterdeps()],
            result.get_leaf(),
        ]

    return run


@case(eager=False)
def children_are_what_is_linked(api):
    @api.task()
    def add(x, y):
        return x + y

    def run():
        result = api.send(add, 1, 2, link=add.s(10))
        result.get(timeout=10, interval=0.01)
        (child,) = result.children
        return [child.get(timeout=10, interval=0.01), child.children]

    return run


@case(eager=False)
def chain_goes_up_and_down(api):
    @api.task()
    def add(x, y):
        return x + y

    def run():
        result = (add.s(1, 2) | add.s(10)).apply_async()
        api.settle()
        return [
            result.get(timeout=10, interval=0.01),
            result.as_list() == [result.id, result.parent.id],
            result.parent.children == [result],
            result.as_tuple() == ((result.id, ((result.parent.id, None), None)), None),
        ]

    return run


@case(eager=False)
def walk_stops_at_what_has_not_ended(api):
    @api.task()
    def one():
        return 1

    def run():
        result = one.apply_async(countdown=60)
        found = []
        try:
            for _, node in result.iterdeps():
                found.append(node == result)
        except api.exceptions.IncompleteStream as error:
            found.append(kind(error))
        return [found, [node == result for _, node in result.iterdeps(intermediate=True)]]

    return run


@case(eager=False)
def graph_has_what_is_below(api):
    @api.task()
    def add(x, y):
        return x + y

    def run():
        second = add.s(10)
        second.link(add.s(100))
        result = api.send(add, 1, 2, link=second)
        result.get(timeout=10, interval=0.01)

        def value(node):
            return node.get(timeout=10, interval=0.01)

        (child,) = result.children
        value(child)
        graph = result.graph
        return [
            [[value(node), [value(below) for below in graph[node]]] for node in graph],
            [value(node) for node in graph.edges()],
            [value(node) for node in graph.topsort()],
            [len(graph), result in graph, len(result.build_graph(intermediate=True))],
        ]

    return run


@case(eager=False)
def then_is_called_when_get_returns(api):
    @api.task()
    def one():
        return 1

    def run():
        result, seen = api.send(one), []
        result.then(lambda it: seen.append(it == result))
        before = list(seen)
        result.get(timeout=10, interval=0.01)
        result.then(lambda it: seen.append("late"))
        return [before, seen]

    return run


@case(eager=False)
def then_hears_of_a_failure(api):
    @api.task()
    def fail():
        raise ValueError("no")

    def run():
        result, seen = api.send(fail), []
        result.then(lambda it: seen.append(it.state))
        return [ended(result), seen]

    return run


@case(eager=False, differs="`on_error` is called: there it never is")
def then_on_error(api):
    @api.task()
    def fail():
        raise ValueError("no")

    def run():
        result, seen = api.send(fail), []
        result.then(lambda it: None, on_error=lambda error: seen.append(str(error)))
        return [ended(result), seen]

    return run


@case(eager=False)
def maybe_throw_does_not_wait(api):
    @api.task()
    def one():
        return 1

    @api.task()
    def fail():
        raise ValueError("no")

    def run():
        seen = []
        good, bad, later = api.send(one), api.send(fail), one.apply_async(countdown=60)
        for result in (good, bad):
            ended(result)
        found = [good.maybe_throw(callback=lambda id, value: seen.append([id == good.id, value]))]
        found += [later.maybe_throw(), str(bad.maybe_reraise(propagate=False))]
        for raises in (bad.maybe_throw, bad.maybe_reraise):
            try:
                raises()
            except ValueError as error:
                found.append(str(error))
        return [found, seen]

    return run


@case(eager=False, differs="it is still a success, of which `get` says that it is no longer kept")
def forget_a_result(api):
    @api.task()
    def one():
        return 1

    def run():
        result = api.send(one)
        result.get(timeout=10, interval=0.01)
        result.forget()
        return [result.state, result.exists()]

    return run


# --- several results ------------------------------------------------------------------------------------


@case(eager=False)
def group_saved_and_restored(api):
    @api.task()
    def double(x):
        return 2 * x

    def run():
        made = api.group(double.s(number) for number in (3, 1, 2)).apply_async()
        made.save()
        api.settle()
        restored = api.results.GroupResult.restore(made.id)
        found = [
            restored == made,
            restored.get(timeout=10, interval=0.01),
            restored.completed_count(),
            [one.id for one in restored] == [one.id for one in made],
        ]
        restored.delete()
        return [*found, api.results.GroupResult.restore(made.id)]

    return run


@case(eager=False)
def set_of_results(api):
    @api.task()
    def double(x):
        return 2 * x

    def run():
        first, second = api.send(double, 1), api.send(double, 2)
        several = api.results.ResultSet([])
        several.add(first)
        several.add(first)
        several.update([first, second])
        found = [len(several), several.join(timeout=10), several.join_native(timeout=10)]
        several.discard("nothing")
        several.remove(first.id)
        found += [list(several) == [second], several[0] == second, several.completed_count()]
        try:
            several.remove(first)
        except KeyError:
            found.append("KeyError")
        several.discard(second)
        several.clear()
        found += [several.ready(), several.successful(), several.failed(), several.waiting()]
        return [*found, len(several), several.completed_count()]

    return run


@case(eager=False)
def set_with_a_failure(api):
    @api.task()
    def half(x):
        return 2 // x

    def run():
        several = api.results.ResultSet([api.send(half, number) for number in (1, 0, 2)])
        found = []
        for one in several:
            ended(one)
        for raises in (several.maybe_throw, several.maybe_reraise, several.join):
            try:
                raises()
            except ZeroDivisionError as error:
                found.append(str(error))
        found += [str(value) for value in several.join(propagate=False, timeout=10)]
        return [found, several.completed_count(), several.failed(), several.ready()]

    return run


# --- other arguments at the next try --------------------------------------------------------------------

RETRIES = {
    "args": {"args": (5,)},
    "both": {"args": (5, 6), "kwargs": {"c": 7}},
    "kwargs": {"kwargs": {"b": 9}},
    "nothing": {},
    "empty_kwargs": {"kwargs": {}},
    "args_by_name": {"args": (), "kwargs": {"a": 8}},
    "too_many": {"args": (1, 2, 3, 4)},
    "typed": {"args": (decimal.Decimal("1.10"),)},
}
CALLS = {"by_place": ((1, 2, 3), {}), "by_name": ((1,), {"b": 3, "c": 4}), "mixed": ((1, 2), {"c": 3})}
for name, changes in RETRIES.items():
    for called, (args, kwargs) in CALLS.items():

        def build_retry(api, changes=changes, args=args, kwargs=kwargs):
            @api.task(bind=True)
            def changing(self, a, b=0, c=0):
                api.seen.append([self.request.retries, str(a), b, c])
                if self.request.retries == 0:
                    self.retry(countdown=0, **changes)
                return [str(a), b, c]

            def run():
                try:
                    found = api.end(changing, *args, kwargs=kwargs)
                except TypeError:
                    found = ["FAILURE"]
                return [found[:2] if found[0] == "SUCCESS" else found[0], api.seen]

            return run

        CASES.append(Case(f"retry_with_{name}_called_{called}", build_retry))


@case(eager=False)
def retry_with_other_options(api):
    @api.task(bind=True)
    def changing(self, a):
        request = self.request
        if request.retries == 0:
            limits = {"time_limit": 7, "soft_time_limit": 5}
            self.retry(countdown=0, priority=3, headers={"h": 1}, expires=50, **limits)
        return [a, request.headers, list(request.timelimit), request.delivery_info["priority"], request.h]

    return lambda: api.end(changing, 1)


@case(eager=False)
def retry_keeps_the_options_it_has(api):
    @api.task(bind=True)
    def changing(self, a):
        if self.request.retries == 0:
            self.retry(countdown=0, args=(2,), headers={"h": 2})
        return [a, self.request.headers, list(self.request.timelimit)]

    return lambda: api.end(changing, 1, headers={"h": 1}, time_limit=9)


@case(eager=False)
def retry_with_other_arguments_is_given_to_what_follows(api):
    @api.task(bind=True)
    def changing(self, a, b):
        if self.request.retries == 0:
            self.retry(countdown=0, args=(a + 1, b))
        return [a, b]

    @api.task()
    def echo(x, y):
        return [x, y]

    def run():
        result = (echo.s(1, 2) | changing.s(5) | echo.s(6)).apply_async()
        api.settle()
        try:
            return result.get(timeout=10, interval=0.01)
        except Exception as error:
            return kind(error)

    return run


@case(eager=False, differs="it is refused: an option nobody knows is a mistake")
def retry_with_an_unknown_option(api):
    @api.task(bind=True)
    def changing(self):
        if self.request.retries == 0:
            self.retry(countdown=0, nonsense=1)
        return "again"

    return lambda: api.end(changing)[:2]

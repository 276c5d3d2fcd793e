"""Collectors as users write them, and what is printed."""

import functools
import io
import json
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware import Analytics, ConfigurationError, Event, EventType, Money
from analytics_middleware.collectors import (
    BaseCollector,
    BatchCollector,
    CallableCollector,
    Collector,
    StdoutCollector,
)
from analytics_middleware.collectors.configured import build_collectors
from analytics_middleware.testing import FakeCollector


def printed(*events, **options):
    stream = io.StringIO()
    collector = StdoutCollector(stream=stream, **options)
    for event in events:
        collector.collect(event)
    collector.flush()
    return stream.getvalue()


FULL = Event(
    type=EventType.ACTION,
    action_name="checkout",
    timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    method="POST",
    path="/shop/7",
    matched_pattern="/shop/{id}",
    status_code=201,
    duration=0.01234,
    user_id="u1",
    locale="de-AT",
    revenue=Money("29.99", "GBP"),
    properties={"plan": "annual", "seats": 3},
)


def test_each_event_is_one_line_of_json():
    events = [Event(event_name="a\nb", properties={"x": "\r\n\x00"}), Event(event_name="c")]
    lines = printed(*events).splitlines()
    assert [json.loads(line) for line in lines] == [event.to_dict() for event in events]


def test_pretty_is_one_readable_line_with_what_is_known():
    assert printed(FULL, pretty=True) == (
        "03:04:05 action   checkout POST /shop/7 (/shop/{id}) 201 12.3 ms user=u1 de-AT GBP 29.99 "
        "plan='annual' seats=3\n"
    )
    assert printed(FULL.replace(properties={}, matched_pattern="/shop/7", action_name=None), pretty=True) == (
        "03:04:05 action   POST /shop/7 201 12.3 ms user=u1 de-AT GBP 29.99\n"
    )
    bare = Event(timestamp=FULL.timestamp)
    assert printed(bare, pretty=True).split() == ["03:04:05", "custom"]


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J", "a\nb", "a\r\nb", "\x07", "\x9b31m", "\u202eevil", "\u2028", "\x00", "\x7f", "\ufeff"],
    ids=ascii,
)
@pytest.mark.parametrize("field", ["event_name", "path", "user_id", "matched_pattern", "locale"])
def test_pretty_escapes_line_breaks_and_control_characters(hostile, field):
    event = FULL.replace(**{field: f"a{hostile}b"})
    line = printed(event, pretty=True)
    assert line.removesuffix("\n").isprintable()
    assert ascii(hostile)[1:-1] in line


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_whatever_strangers_write_pretty_stays_one_printable_line(text, properties):
    event = Event(event_name=text, method=text, path=text, user_id=text, locale=text, properties=properties)
    line = printed(event, pretty=True)
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_readable_characters_of_any_script_are_printed_as_they_are():
    assert "größe 東京 🎉" in printed(Event(event_name="größe 東京 🎉"), pretty=True)


def test_the_stream_is_what_sys_stdout_is_when_an_event_comes(capsys, monkeypatch):
    collector = StdoutCollector()
    later = io.StringIO()
    monkeypatch.setattr(sys, "stdout", later)
    collector.collect(Event(event_name="late"))
    collector.flush()
    assert "late" in later.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_output_that_lacks_characters_gets_them_escaped(encoding):
    """A stranger's path must not stop the collector where the server's locale is ASCII."""
    event = Event(event_name="käse", path="/кофе", properties={"mood": "😀"})
    written = io.TextIOWrapper(io.BytesIO(), encoding)
    for pretty in (False, True):
        StdoutCollector(stream=written, pretty=pretty).collect(event)
    written.seek(0)
    as_json, readable = written.read().splitlines()
    again = Event.decode(as_json)
    assert (again.name, again.path, again.properties) == (event.name, event.path, event.properties)
    assert {"ascii": "k\\u00e4se", "latin-1": "käse"}.get(encoding, "mood='😀'") in readable


def test_stdout_gets_no_raw_address_unless_asked():
    assert list(StdoutCollector().needs) == []
    assert list(StdoutCollector(client_ip=True).needs) == ["client_ip"]


def test_stdout_is_first_party_and_wants_everything_at_once():
    collector = StdoutCollector()
    assert (collector.name, collector.third_party, collector.bots, collector.linger) == ("stdout", False, True, 0.0)


def test_the_defaults_of_a_collector_are_careful():
    class Mine(BaseCollector):
        name = "mine"

    mine = Mine()
    assert (mine.third_party, mine.bots, mine.dedupes, mine.requires_consent) == (True, False, False, False)
    assert (list(mine.needs), mine.max_age) == ([], None)


# In settings.


def plain_function(event):
    return None


class Options(FakeCollector):
    def __init__(self, token, name="options"):
        super().__init__(name)
        self.token = token


class RefusesOptions(FakeCollector):
    def __init__(self):
        raise ConfigurationError("token='' is empty; it must be the key that your destination shows")


def factory(name="made"):
    return FakeCollector(name)


class Structural:
    """A collector by its methods alone."""

    name = "structural"

    def start(self):
        pass

    def collect(self, event):
        pass

    def flush(self):
        pass

    def close(self):
        pass


class Nameless(Structural):
    name = ""


class WithoutName:
    start = collect = flush = close = lambda self, *_: None


class WithoutFlush:
    name = "without_flush"
    start = collect = close = lambda self, *_: None


class AsyncSend(BatchCollector):
    name = "async_send"

    async def send(self, events): ...


async def async_function(event): ...


instance = FakeCollector("instance")


def test_instances_are_taken_as_they_are():
    mine, structural = FakeCollector("mine"), Structural()
    assert build_collectors([mine, structural]) == [mine, structural]
    assert isinstance(structural, Collector)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain_function, "plain_function"),
        (functools.partial(plain_function), "partial"),
        (lambda event: None, "lambda"),
        ([].append, "append"),
        (Options("t").collect, "collect"),
    ],
    ids=["function", "partial", "lambda", "built-in", "method"],
)
def test_a_callable_is_a_collector_with_its_name(function, name):
    [collector] = build_collectors([function])
    assert isinstance(collector, CallableCollector)
    assert collector.name == name
    assert collector.third_party is False
    assert list(collector.needs) == ["client_ip"]


def test_a_callable_gets_every_event():
    seen = []
    analytics = Analytics([seen.append], enabled=True)
    analytics.track("one")
    analytics.track("two")
    assert analytics.flush()
    analytics.close()
    assert [event.event_name for event in seen] == ["one", "two"]


def test_a_callable_that_only_returns_a_coroutine_has_delivered_nothing():
    collector = CallableCollector(lambda event: async_function(event), "lazy")
    with pytest.raises(TypeError, match="lazy returned a coroutine"):
        collector.collect(Event())


def test_two_callables_of_the_same_kind_can_be_told_apart_by_name():
    one, two = CallableCollector(lambda event: None, "one"), CallableCollector(lambda event: None, name="two")
    assert [collector.name for collector in build_collectors([one, two])] == ["one", "two"]


def test_a_dotted_path_names_a_class_with_its_options():
    [stdout] = build_collectors([{"class": "analytics_middleware.collectors.StdoutCollector", "name": "out"}])
    assert isinstance(stdout, StdoutCollector)
    assert stdout.name == "out"
    [bare] = build_collectors(["analytics_middleware.collectors.StdoutCollector"])
    assert isinstance(bare, StdoutCollector)


@pytest.fixture
def here(monkeypatch):
    """The path of this module, importable whatever the import mode."""
    monkeypatch.setitem(sys.modules, "shop_collectors", sys.modules[__name__])
    return "shop_collectors"


def test_a_dotted_path_may_name_a_class_a_factory_an_instance_or_a_function(here):
    built = build_collectors(
        [
            {"class": f"{here}.Options", "token": "t"},
            {"class": f"{here}.factory", "name": "other"},
            {"class": f"{here}.instance"},
            {"class": f"{here}.plain_function"},
        ]
    )
    assert [collector.name for collector in built] == ["options", "other", "instance", "plain_function"]
    assert built[0].token == "t"
    assert built[2] is instance


def test_the_settings_dict_is_not_changed(here):
    entry = {"class": f"{here}.Options", "token": "t"}
    build_collectors([entry])
    assert entry == {"class": f"{here}.Options", "token": "t"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (StdoutCollector, r"collectors\[1\] is the class StdoutCollector; pass an instance: StdoutCollector\(...\)"),
        (Nameless(), r"collectors\[1\], a Nameless, has no name; set the attribute 'name'"),
        (WithoutName(), r"collectors\[1\], a WithoutName, has no name; set the attribute 'name'"),
        (BatchCollector(), r"collectors\[1\], a BatchCollector, has no name"),
        (WithoutFlush(), r"collectors\[1\], a WithoutFlush, has no flush\(\)"),
        (async_function, r"collectors\[1\] is async; .* use a plain function"),
        (AsyncSend(), r"collectors\[1\], a AsyncSend, has an async send\(\); .* use a plain function"),
        (5, r"collectors\[1\] is 5; a collector is an instance, a callable f\(event\), or"),
        (None, r"collectors\[1\] is None; a collector is"),
        ({}, r"collectors\[1\]\['class'\] is None; it must be a dotted path such as"),
        ({"class": 5}, r"collectors\[1\]\['class'\] is 5; it must be a dotted path"),
        ({"class": "Stdout"}, r"collectors\[1\]\['class'\] is 'Stdout'; it must be a dotted path"),
        ("no_such_module.Collector", r"is 'no_such_module.Collector', which can't be imported: .*no_such_module"),
        ("json.NoSuchCollector", r"is 'json.NoSuchCollector', which can't be imported: .*NoSuchCollector"),
        ({"class": "analytics_middleware.collectors.StdoutCollector", "colour": "red"}, r"\(colour\).*colour"),
        ("math.pi", r"collectors\[1\] is 3.14"),
        (FakeCollector("with space"), r"collector name 'with space' must be 1 to 64 letters"),
        (FakeCollector("x" * 65), "must be 1 to 64 letters"),
        (FakeCollector("first"), "two collectors are named 'first'; .* give one of them another: name="),
    ],
    ids=[
        *(
            "class",
            "empty name",
            "no name",
            "base without name",
            "no flush",
            "async function",
            "async send",
            "number",
            "None",
            "no class",
        ),
        *("class is a number", "no dot", "no module", "no attribute", "unknown option", "path to a number"),
        *("name with space", "long name", "duplicate"),
    ],
)
def test_what_is_no_collector_is_one_clear_error(entry, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        build_collectors([FakeCollector("first"), entry])
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=message):
        Analytics([FakeCollector("first"), entry])


def test_an_error_about_options_keeps_their_values_secret(here):
    with pytest.raises(ConfigurationError) as caught:
        build_collectors([{"class": f"{here}.Options", "tokne": "s3cret"}])
    assert "tokne" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_collectors_own_word_on_its_options_is_passed_on(here):
    with pytest.raises(ConfigurationError, match="token='' is empty"):
        build_collectors([f"{here}.RefusesOptions"])


def test_a_batch_collector_asks_only_for_send():
    class Mine(BatchCollector):
        name = "mine"
        sent = ()

        def send(self, events):
            self.sent = [event.event_name for event in events]

    mine = Mine()
    for name in "ab":
        mine.collect(Event(event_name=name))
    assert mine.sent == ()
    mine.flush()
    assert mine.sent == ["a", "b"]


def test_a_batch_collector_without_init_of_its_base_works_all_the_same():
    class Mine(BatchCollector):
        name = "mine"

        def __init__(self):
            self.sent = []

        def send(self, events):
            self.sent += [event.event_name for event in events]

    mine = Mine()
    analytics = Analytics([mine], enabled=True)
    analytics.track("x")
    assert analytics.flush()
    analytics.close()
    assert mine.sent == ["x"]


def test_a_batch_that_failed_is_not_kept_for_the_delivery_hands_it_over_again():
    fails = [OSError("down"), None]

    def fail(events):
        if error := fails.pop(0):
            raise error

    collector = FakeCollector(fail=fail)
    collector.collect(Event(event_name="a"))
    with pytest.raises(OSError, match="down"):
        collector.flush()
    collector.collect(Event(event_name="a"))
    collector.flush()
    assert [event.event_name for event in collector.events] == ["a"]


def test_an_empty_batch_is_not_sent():
    collector = FakeCollector()
    collector.flush()
    assert collector.batches == 0


@pytest.mark.parametrize(("base", "call"), [(BaseCollector, "collect"), (BatchCollector, "send")])
def test_a_base_says_what_must_be_defined(base, call):
    with pytest.raises(TypeError, match=f"{base.__name__} must define {call}\\("):
        getattr(base(), call)(())


def test_a_collectors_repr_names_it():
    assert repr(StdoutCollector()) == "<StdoutCollector 'stdout'>"


def test_an_address_in_place_of_a_collector_is_refused_without_repeating_what_may_be_secret_in_it():
    for entry in ("https://ann:hunter2@hub.example/x", {"class": "https://ann:hunter2@hub.example/x"}, [b"hunter2"]):
        with pytest.raises(ConfigurationError) as caught:
            Analytics([entry])
        assert "hunter2" not in str(caught.value)

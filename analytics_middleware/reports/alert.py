"""Alerts, as the setting `alerts` describes them: a question, a number in its answer, a condition and destinations."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import unquote_plus, urlencode

from analytics_middleware.analytics import Analytics
from analytics_middleware.durations import read_duration
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.reports.destinations import Destination, read_destinations
from analytics_middleware.reports.number import Number
from analytics_middleware.reports.pipeline import PipelineHealth, pipeline_health
from analytics_middleware.store.filters import Filter, QuestionError
from analytics_middleware.web.parameters import parse
from analytics_middleware.web.questions import QUESTIONS

PIPELINE: Final = "pipeline"
"""The question about the collectors' health, which the REST API does not have."""
CONDITIONS: Final = {
    "above": "above {}",
    "below": "below {}",
    "changes_by": "changed by {}% or more",
    "rises_by": "risen by {}% or more",
    "falls_by": "fallen by {}% or more",
}
"""The conditions in words. The last three compare with the period of the same length before, in percent."""

_KEYS: Final = ("name", "question", "parameters", "number", *CONDITIONS, "window", "quiet", "to")
_QUESTIONS: Final = {question.path.strip("/"): question for question in QUESTIONS}
_MOST: Final = timedelta(days=366)
_NAME: Final = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """The number now and, for conditions about a change, in the period before."""

    value: float | None
    before: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A threshold on a question."""

    name: str
    question: str
    """The question's path in the REST API, or `PIPELINE`."""
    parameters: str
    """The question's parameters, as a query string."""
    number: Number
    condition: str
    threshold: float
    window: timedelta
    quiet: timedelta
    """How long after a message that it fires no other is sent."""
    to: tuple[Destination, ...]

    @property
    def compares(self) -> bool:
        """Whether the condition is about a change."""
        return self.condition.endswith("_by")

    @property
    def words(self) -> str:
        """The condition in words."""
        return CONDITIONS[self.condition].format(f"{self.threshold:g}")

    @property
    def source(self) -> str:
        """The question with its parameters and the path of the number."""
        asked = f"{self.question}?{unquote_plus(self.parameters)}" if self.parameters else self.question
        return f"{asked}: {self.number.path}"

    def measure(self, analytics: Analytics, at: datetime) -> Measured:
        """Ask about the window that ends at *at*. Raises `AnalyticsError` if the question can't be asked."""
        value = self._ask(analytics, at - self.window, at)
        return Measured(value, self._ask(analytics, at - 2 * self.window, at - self.window) if self.compares else None)

    def holds(self, measured: Measured) -> bool | None:
        """Whether the condition holds, or None if there is no number."""
        value = measured.value
        if value is None:
            return None
        if self.condition == "above":
            return value > self.threshold
        if self.condition == "below":
            return value < self.threshold
        if measured.before is None:
            return None
        moved = change(value, measured.before)
        if self.condition == "falls_by":
            return -moved >= self.threshold
        return (abs(moved) if self.condition == "changes_by" else moved) >= self.threshold

    def _ask(self, analytics: Analytics, start: datetime, end: datetime) -> float | None:
        if self.question == PIPELINE:
            return self.number.of(pipeline_health(analytics, start, end))
        question = _QUESTIONS[self.question]
        asked = parse(self.parameters, question.parameters)
        takes = {parameter.to for parameter in question.parameters}
        asked |= {name: value for name, value in (("start", start), ("end", end)) if name in takes}
        return self.number.of(question.ask(analytics.insights, asked))


def change(value: float, before: float) -> float:
    """Return the change in percent; it is infinite if *before* is 0 and *value* isn't."""
    if not before:
        return math.copysign(math.inf, value) if value else 0.0
    return (value - before) / abs(before) * 100


def read_alerts(key: str, value: Any) -> tuple[Alert, ...]:
    """Return the alerts in the setting *key*. Raises `ConfigurationError`, which names the alert, key and value."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise ConfigurationError(f"analytics setting {key!r} is {value!r:.100}; it must be a list of dicts")
    alerts: list[Alert] = []
    for index, each in enumerate(cast("Sequence[Any]", value)):
        where = f"analytics setting {key!r}, alert {index}"
        if isinstance(each, Alert):
            alerts.append(each)
            continue
        if not isinstance(each, Mapping):
            raise ConfigurationError(f"{where} is {each!r:.100}; it must be a dict with 'name', 'question', …")
        alerts.append(_Reader(where, cast("Mapping[Any, Any]", each)).alert())
        if alerts[-1].name in [known.name for known in alerts[:-1]]:
            raise ConfigurationError(f"{where}: 'name' is {alerts[-1].name!r}; it must be another one's than before")
    return tuple(alerts)


class _Reader:
    """Reads one alert. Each error names the alert, key and value."""

    def __init__(self, where: str, given: Mapping[Any, Any]) -> None:
        self._where = where
        self._given = {str(key): value for key, value in given.items()}
        name = self._given.get("name")
        if isinstance(name, str) and name:
            self._where = f"{where} ({name!r:.100})"
        if unknown := [key for key in self._given if key not in _KEYS]:
            raise ConfigurationError(f"{self._where}: {unknown[0]!r} is unknown; there are {', '.join(_KEYS)}")

    def alert(self) -> Alert:
        """Return the alert."""
        name = self._given.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > _NAME or not name.isprintable():
            raise self._wrong("name", f"one line of at most {_NAME} characters")
        question, parameters, answer = self._question()
        try:
            number = Number(str(self._given.get("number", "")), answer)
        except ValueError as error:
            raise self._wrong("number", f"the way to a number in the answer: {error}") from None
        condition, threshold = self._condition()
        if condition.endswith("_by") and (question == PIPELINE or not self._has_end(question)):
            raise self._wrong(condition, f"'above' or 'below': {question} has no time before to compare with")
        to = read_destinations(f"{self._where}: 'to'", self._given.get("to"))
        if not to:
            raise self._wrong("to", "a list of e-mail addresses and webhooks' URLs")
        return Alert(
            name=name,
            question=question,
            parameters=parameters,
            number=number,
            condition=condition,
            threshold=threshold,
            window=self._span("window", "24h"),
            quiet=self._span("quiet", "4h"),
            to=to,
        )

    def _question(self) -> tuple[str, str, Any]:
        name: Any = self._given.get("question")
        question = _QUESTIONS.get(name) if isinstance(name, str) else None
        if name != PIPELINE and question is None:
            raise self._wrong("question", f"one of {', '.join((*_QUESTIONS, PIPELINE))}")
        parameters: Any = self._given.get("parameters", {})
        if not isinstance(parameters, Mapping):
            raise self._wrong("parameters", "a dict")
        given = {str(key): value for key, value in cast("Mapping[Any, Any]", parameters).items()}
        if taken := sorted({"from", "to"} & given.keys()):
            raise self._wrong("parameters", f"without {taken[0]!r}, which 'window' says")
        query = urlencode([(key, text) for key, value in given.items() for text in _texts(value)], errors="replace")
        if question is None:
            if query:
                raise self._wrong("parameters", f"empty for {PIPELINE}")
            return PIPELINE, "", PipelineHealth
        try:
            asked = parse(query, question.parameters)
            for each in asked.get("where", ()):
                Filter.of(each)
        except QuestionError as error:
            raise self._wrong("parameters", f"those of {name}: {error}") from None
        return str(name), query, question.grouped if "breakdown" in asked else question.answer

    def _has_end(self, question: str) -> bool:
        return "end" in {parameter.to for parameter in _QUESTIONS[question].parameters}

    def _condition(self) -> tuple[str, float]:
        found = [key for key in CONDITIONS if key in self._given]
        if len(found) != 1:
            many = f"{' and '.join(map(repr, found))} are given" if found else "there is no condition"
            raise ConfigurationError(f"{self._where}: {many}; it must be one of {', '.join(map(repr, CONDITIONS))}")
        key, value = found[0], self._given[found[0]]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(key, "a number")
        if key.endswith("_by") and value <= 0:
            raise self._wrong(key, "a percentage above 0")
        return key, float(value)

    def _span(self, key: str, default: str) -> timedelta:
        value = self._given.get(key, default)
        try:
            found = read_duration(value if isinstance(value, str) else "")
        except ValueError:
            found = timedelta(0)
        if not timedelta(0) < found <= _MOST:
            raise self._wrong(key, "a length of time such as 30m, 24h or 7d, of a year at most")
        return found

    def _wrong(self, key: str, right: str) -> ConfigurationError:
        shown = "missing" if key not in self._given else f"{self._given[key]!r:.200}"
        return ConfigurationError(f"{self._where}: {key!r} is {shown}; it must be {right}")


def _texts(value: Any) -> list[str]:
    """Return the texts that stand for *value* of a parameter in a query string."""
    if isinstance(value, (list, tuple)):
        listed = list(cast("Sequence[Any]", value))
        if any(isinstance(each, Mapping) for each in listed):
            return [json.dumps(listed)]
        return [text for each in listed for text in _texts(each)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]

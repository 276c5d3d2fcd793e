"""A report as text and as HTML."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from analytics_middleware.plain_text import table
from analytics_middleware.reports.figures import Change, Report, Row, Section
from analytics_middleware.reports.message import Message, html, one_line
from analytics_middleware.web import formats
from analytics_middleware.web.pages.overview import Tile

_BARS: Final = "▁▂▃▄▅▆▇█"
_KEY: Final = 60

_to_json = msgspec.json.Encoder(enc_hook=str).encode


def report_message(report: Report) -> Message:
    """Return *report* as a message. Raises `MissingExtraError` without Jinja2."""
    subject = one_line(f"{report.title}: {formats.days(report.first, report.last)}")
    digest = blake2b(_to_json(report), digest_size=16).hexdigest()
    return Message(
        id=f"rpt_{digest}",
        kind="analytics.report",
        subject=subject,
        text=report_text(report),
        html=report_html(report),
        data=report,
    )


def report_html(report: Report) -> str:
    """Return *report* as self-contained HTML for mail clients. Raises `MissingExtraError` without Jinja2."""
    values = [point.value for point in report.points if point.value is not None]
    return html(
        "report.html",
        report=report,
        most=max(values, default=0),
        sentences=[sentence(each) for each in report.changes],
        row_change=row_change,
    )


def report_text(report: Report) -> str:
    """Return *report* as lines of text."""
    lines = [one_line(report.title), formats.days(report.first, report.last) + f" ({report.tz})"]
    if report.before_first and report.before_last:
        lines.append(f"compared with {formats.days(report.before_first, report.before_last)}")
    rows: list[Sequence[str]] = [_tile(each) for each in report.tiles]
    lines += ["", _columns([("", "", "before", ""), *rows])]
    values = [point.value for point in report.points]
    if len(values) > 1:
        lines += ["", f"Visitors by the {report.unit}: {_bars(values)}"]
    if report.changes:
        lines += ["", "What changed most", *(f"- {sentence(each)}" for each in report.changes)]
    for section in report.sections:
        lines += ["", *_section(section)]
    if report.cookieless:
        lines += ["", f"{formats.count(report.cookieless)} visitors without a cookie are added up day by day."]
    if report.bots:
        lines += ["", f"{formats.count(report.bots)} page views of bots are left out."]
    if report.dashboard:
        lines += ["", report.dashboard]
    return "\n".join(lines) + "\n"


def sentence(change: Change) -> str:
    """Return *change* in words."""
    name = f"{change.what} {one_line(change.key, _KEY)}"
    if not change.before:
        return f"{name}: {formats.count(change.visitors)} visitors, none before"
    if not change.visitors:
        return f"{name}: no visitors, {formats.count(change.before)} before"
    moved = formats.change((change.visitors - change.before) / change.before, "visitors")
    return f"{name}: {formats.count(change.visitors)} visitors, {formats.count(change.before)} before ({moved})"


def row_change(row: Row) -> str:
    """Return in words how the visitors of *row* have changed."""
    if row.before is None:
        return ""
    return "new" if not row.before else formats.change((row.visitors - row.before) / row.before, "visitors")


def _tile(tile: Tile) -> Sequence[str]:
    before = "" if tile.before is None else formats.figure(tile.before, tile.metric)
    label, value = one_line(tile.label), formats.figure(tile.value, tile.metric)
    return (label, value, before, formats.change(tile.change, tile.metric))


def _section(section: Section) -> list[str]:
    if not section.rows:
        return [section.title, "Nothing in this period."]
    rows: list[Sequence[str]] = [(section.column, "Visitors", section.counted, "")]
    rows += [
        (one_line(row.key, _KEY), formats.count(row.visitors), formats.count(row.count), row_change(row))
        for row in section.rows
    ]
    return [section.title, _columns(rows)]


def _columns(rows: Sequence[Sequence[str]]) -> str:
    return table([tuple(cell or " " for cell in row) for row in rows])


def _bars(values: Sequence[float | int | None]) -> str:
    most = max((value for value in values if value is not None), default=0)
    if not most:
        return _BARS[0] * len(values)
    return "".join(" " if value is None else _BARS[round(value / most * (len(_BARS) - 1))] for value in values)

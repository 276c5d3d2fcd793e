"""Templates: Jinja2 with everything escaped, because strangers sent what the pages show."""

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from analytics_middleware.errors import MissingExtraError
from analytics_middleware.store import calendar, filters
from analytics_middleware.web import formats

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """Return the content, type and version of each file that pages load, by its name."""
    return {
        path.name: (content, _TYPES[path.suffix], blake2b(content, digest_size=6).hexdigest())
        for path in sorted((_HERE / "static").glob("dashboard.*"))
        for content in [path.read_bytes()]
    }


@cache
def environment() -> Any:
    """Return the environment of all templates. Raises `MissingExtraError` without Jinja2."""
    try:
        import jinja2
    except ImportError:
        extra = "pip install 'analytics-middleware[dashboard]'"
        raise MissingExtraError(f"pages, and reports as HTML, need the extra: {extra}") from None
    from analytics_middleware.web import charts, links
    from analytics_middleware.web.pages import annotated

    found: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for each in (
        formats.count,
        formats.percent,
        formats.money,
        formats.figure,
        formats.brief,
        formats.exact,
        formats.tick,
        formats.change,
        formats.seconds,
        formats.bucket,
        formats.short_bucket,
        formats.moment,
        formats.instant,
        formats.ago,
        formats.days,
        formats.shortened,
        formats.condition,
        charts.share,
        charts.shade,
        links.web_address,
        annotated.noted,
        calendar.local_day,
        filters.as_text,
    ):
        found.filters[each.__name__] = each
    found.filters["as_filter"] = filters.Filter.of
    found.globals["line_chart"] = charts.line_chart
    return found


def render(template: str, values: dict[str, Any]) -> bytes:
    """Return *template* rendered with *values*, in UTF-8."""
    text: str = environment().get_template(template).render(**values)
    # A lone surrogate in a name must not keep the page from being sent.
    return text.encode("utf-8", "replace")

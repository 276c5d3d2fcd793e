"""Who else may hold data of a user, which somebody who erases or exports a user must know."""

from analytics_middleware.commands import target
from analytics_middleware.erasing import holders
from analytics_middleware.outbox.base import STORE


def describe(found: target.Target) -> str:
    """Return a sentence that says where else to erase or export the user."""
    if found.analytics is None:
        names = [name for name in found.durable.stats().consumers if name != STORE]
        if not names:
            return "No collector has had any event."
        return (
            f"Events have been sent to {', '.join(names)}. Third parties among these must be asked on their own; "
            "with --app this command names them."
        )
    vendors, own = holders(found.analytics.collectors)
    lines: list[str] = []
    if vendors:
        lines.append("These may hold events of the user and must be asked on their own:")
        lines += [f"- {each.name} ({type(each).__name__})" for each in vendors]
    if own:
        lines.append(f"Your own systems that also got events: {', '.join(each.name for each in own)}.")
    if found.analytics.hub is not None:
        lines.append(f"The store is elsewhere: {found.analytics.hub.url}.")
    return "\n".join(lines) or "No collector is configured, so nobody else has had the user's events."

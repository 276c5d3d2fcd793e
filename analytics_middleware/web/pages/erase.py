"""The page that erases a user: what will be deleted, then what was, and which vendors must be asked to delete, too."""

from collections.abc import Mapping
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.erasing import holders
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.web.parameters import Parameter, text

ERASE: Final[tuple[Parameter, ...]] = (text("user_id", "Whom to erase.", required=True),)


def to_erase(analytics: Analytics, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows before: the question whether to erase the user."""
    return {"user_id": asked["user_id"], "erased": None, **_elsewhere(analytics)}


def erased(analytics: Analytics, form: Mapping[str, str]) -> dict[str, Any]:
    """Erase the user in *form*; return what the page shows afterwards. Raises `QuestionError`."""
    user_id = form.get("user_id", "")
    if form.get("sure") != "yes":
        raise QuestionError("sure", "must be ticked: erasing can't be undone")
    try:
        gone = analytics.erase(user_id)
    except ValueError as error:
        raise QuestionError("user_id", str(error)) from None
    return {"user_id": user_id, "erased": gone, **_elsewhere(analytics)}


def _elsewhere(analytics: Analytics) -> dict[str, Any]:
    vendors, own = holders(analytics.collectors)
    return {
        "vendors": [(each.name, type(each).__name__) for each in vendors],
        "own": [(each.name, type(each).__name__) for each in own],
    }

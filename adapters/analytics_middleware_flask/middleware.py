"""The middleware around ``app.wsgi_app``: what Flask and its extensions know of a request, translated."""

import sys
from typing import Any

from flask import Request, current_app, g, has_request_context, session
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import Rule

from analytics_middleware import wsgi
from analytics_middleware.context import RequestContext
from analytics_middleware.exclusions import is_staff
from analytics_middleware.properties import identifier


class AnalyticsMiddleware(wsgi.AnalyticsMiddleware):
    """WSGI middleware that knows Flask; made by `FlaskAnalytics`."""

    def describe(self, environ: dict[str, Any], context: RequestContext) -> None:
        """Note URL rule, endpoint, user and locale, if Flask's request context still exists."""
        request: Request | None = environ.get("werkzeug.request")
        if request is None or not has_request_context():
            return
        rule = request.url_rule or _rule_of_other_methods(request)
        if rule is not None:
            context.pattern = context.mount + environ.get("SCRIPT_NAME", "")[len(context.root or "") :] + rule.rule
            context.endpoint = rule.endpoint
            if rule.endpoint.endswith("static") and _serves_files(rule.endpoint):
                context.excluded = True
        # The proxy is resolved once: each access through it would cost as much as all the rest.
        store = g._get_current_object()
        get_user_id = self.analytics.settings.get_user_id
        user_id = identifier(_loaded_user_id(store) if get_user_id is None else get_user_id(request))
        if user_id is not None:
            context.user_id = user_id
        if self.analytics.leaves_out_staff:
            context.staff = is_staff(store.get("_login_user"))
        # Only a locale that Flask-Babel has chosen: asking could run the application's selector, and a query.
        locale = getattr(store.get("_flask_babel"), "babel_locale", None)
        if locale is not None:
            context.locale = str(locale)


def describe_session(context: RequestContext) -> None:
    """Note the user that Flask-Login has stored in the session, if the view has not loaded the user.

    Only for teardown: before the response is made, reading the session would add ``Vary: Cookie`` to it.
    """
    if context.user_id is None and "flask_login" in sys.modules and "_login_user" not in g:
        context.user_id = identifier(session.get("_user_id"))


def _loaded_user_id(store: Any) -> object:
    """Return the id of the user that Flask-Login has already loaded, if any."""
    user = store.get("_login_user")
    return user.get_id() if user is not None and user.is_authenticated else None


def _serves_files(endpoint: str) -> bool:
    """Whether *endpoint* is the one that Flask adds for a static folder, and not a view of that name."""
    blueprint, _, name = endpoint.rpartition(".")
    owner = current_app.blueprints.get(blueprint) if blueprint else current_app
    return name == "static" and owner is not None and owner.has_static_folder


def _rule_of_other_methods(request: Request) -> Rule | None:
    """Return the rule that matches the path but not the method (405), which `request.url_rule` does not have."""
    error = request.routing_exception
    if not isinstance(error, MethodNotAllowed) or not error.valid_methods:
        return None
    adapter = current_app.create_url_adapter(request)
    if adapter is None:
        return None
    rule, _ = adapter.match(method=next(iter(error.valid_methods)), return_rule=True)
    return rule

"""Flask: pages in sync views, groups in blueprints, auth by Flask-Login."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from flask import Blueprint, Flask, Response, request, send_file, stream_with_context
from flask_login import LoginManager, UserMixin, current_user

from analytics_middleware import Analytics
from analytics_middleware_flask import FlaskAnalytics, get_analytics
from contract import pages
from contract.pages import DOWNLOAD, ROUTES, STATIC, Ask
from contract.stacks import Settings, Stack

_SPELLING = {"{slug}": "<slug>", "{id}": "<int:id>", "{tenant}": "<tenant>"}


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def view_of(page: pages.Route) -> Any:
    def view(**params: Any) -> Response:
        given = {name: str(value) for name, value in params.items()}
        answer = page.handler(Ask(request.method, request.headers.get, request.args, given, request.get_data()))
        return Response(answer.body, answer.status, dict(answer.headers), content_type=answer.content_type)

    view.__name__ = page.name
    return view


def account() -> str:
    return f"<p>{current_user.is_authenticated}</p>"


def stream() -> Response:
    return Response(pages.stream())


def endless() -> Response:
    return Response(pages.endless())


def long() -> Response:
    return Response(pages.endless(pages.LONG_CHUNKS))


def download() -> Response:
    return send_file(DOWNLOAD, as_attachment=True)


def background() -> Response:
    response = Response("<p>later</p>")
    response.call_on_close(pages.background_work)
    return response


def in_sync_view() -> bytes:
    return pages.shape(int(request.args["n"]))


async def in_async_view() -> bytes:
    return await pages.shape_async(int(request.args["n"]))


def in_thread() -> bytes:
    return pages.shape_in_thread(int(request.args["n"]))


def in_stream() -> Response:
    return Response(pages.shape_streaming(int(request.args["n"])))


def in_stream_with_context() -> Response:
    return Response(stream_with_context(pages.shape_streaming(int(request.args["n"]))))


OWN = {
    "/account": account,
    "/stream": stream,
    "/endless": endless,
    "/long": long,
    "/download": download,
    "/background": background,
    "/helpers/sync": in_sync_view,
    "/helpers/async": in_async_view,
    "/helpers/threadpool": in_thread,
    "/helpers/stream": in_stream,
    "/helpers/sync stream": in_stream_with_context,
}


def spelled(path: str) -> str:
    for parameter, spelling in _SPELLING.items():
        path = path.replace(parameter, spelling)
    return path


def application() -> Flask:
    app = Flask("shop", static_folder=str(STATIC))
    app.secret_key = "not a secret"
    login = LoginManager(app)
    login.request_loader(lambda request: User(request.headers["X-User"]) if "X-User" in request.headers else None)
    for path, view in OWN.items():
        app.add_url_rule(path, view_func=view)
    for group, members in groupby(sorted(ROUTES, key=lambda page: page.group), key=lambda page: page.group):
        owner: Flask | Blueprint = app if not group else Blueprint(group.rpartition("/")[2].strip("{}"), "shop")
        for page in members:
            rule = spelled(page.path.removeprefix(group))
            owner.add_url_rule(rule, view_func=view_of(page), methods=[*page.methods])
        if isinstance(owner, Blueprint):
            if group == "/deep/er":
                outer = Blueprint("deep", "shop")
                outer.register_blueprint(owner, url_prefix="/er")
                app.register_blueprint(outer, url_prefix="/deep")
            else:
                app.register_blueprint(owner, url_prefix=spelled(group))
    return app


@contextmanager
def build(settings: Settings, variant: str) -> Iterator[tuple[Any, Analytics | None]]:
    app = application()
    if settings is None:
        yield app, None
        return
    app.config["ANALYTICS"] = dict(settings)
    FlaskAnalytics(app)
    if variant == "twice":
        FlaskAnalytics(app)
    yield app, get_analytics(app)


STACK = Stack(
    "Flask",
    "wsgi",
    build,
    modes=("sync", "async", "threadpool", "stream", "sync stream"),
    spelling=_SPELLING,
    names={"/shop buy": "shop.buy"},
)

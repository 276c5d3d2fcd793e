"""How a command finds what it works on: the application's `Analytics`, or a data directory where that is enough."""

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from analytics_middleware.analytics import Analytics
from analytics_middleware.commands import CommandError
from analytics_middleware.outbox.database import FILE
from analytics_middleware.outbox.sqlite import SqliteOutbox

if TYPE_CHECKING:
    from analytics_middleware.store import DuckDBStore
    from analytics_middleware.store.base import Portable

APP_VARIABLE = "ANALYTICS_APP"
DIRECTORY_VARIABLE = "ANALYTICS_DATA_DIR"

_HOW = f"say --app MODULE:ATTRIBUTE or set {APP_VARIABLE}"
_OR_DIRECTORY = f", or --data-dir DIR or {DIRECTORY_VARIABLE}"


class Target(NamedTuple):
    """What a command works on."""

    analytics: Analytics | None
    """None when only the directory is known."""
    application: Any = None
    """The application that `analytics` was found in."""
    outbox: SqliteOutbox | None = None
    """The durable outbox; None if events are kept in memory."""

    @property
    def durable(self) -> SqliteOutbox:
        """The durable outbox. Raises `CommandError` if there is none."""
        if self.outbox is None:
            raise CommandError(
                "this application keeps its events in the memory of its processes, where no other process sees them; "
                "the setting data_dir makes them durable"
            )
        return self.outbox

    @property
    def writable(self) -> SqliteOutbox:
        """The durable outbox, for commands that write files beside it. Raises `CommandError` unless they are its owner.

        What root writes, the user of the web processes can't read.
        """
        database = self.durable.database
        user = os.geteuid()
        place = database.path if database.path.exists() else database.directory
        if place.exists() and (owner := place.stat().st_uid) != user:
            raise CommandError(
                f"{str(place)!r} belongs to the user {owner}, this is {user}: run the command as the user of the web "
                f"processes (sudo -u '#{owner}'), who can't read what another user writes; if that is {user}, first "
                f"chown -R {user} {str(database.directory)!r}"
            )
        return self.durable

    @property
    def store(self) -> "DuckDBStore":
        """The store in the data directory. Raises `CommandError` if there is none."""
        from analytics_middleware.store import DuckDBStore

        store = self.portable
        if isinstance(store, DuckDBStore):
            return store
        raise CommandError(f"this application keeps its events in {type(store).__name__}, not in its data directory")

    @property
    def portable(self) -> "Portable":
        """The store, wherever it is. Raises `CommandError` if this process can't write to one and read from it."""
        from analytics_middleware.store import DuckDBStore, MemoryStore
        from analytics_middleware.store.base import Portable

        if self.analytics is None:
            return DuckDBStore(self.durable)
        if self.analytics.hub is not None:
            raise CommandError(f"this application keeps its events elsewhere: {self.analytics.hub.url}")
        store = self.analytics.store
        if store is None:
            raise CommandError("this application has no store: its setting 'store' is None")
        if type(store) is MemoryStore or not isinstance(store, Portable):
            raise CommandError(f"this application keeps its events in {type(store).__name__}, which only it can read")
        return store

    @property
    def kept(self) -> Any:
        """The store, or None if there is none or another process keeps it."""
        from analytics_middleware.store.base import Portable
        from analytics_middleware.store.catalogue import segment_directory

        if self.analytics is None:
            return self.store if segment_directory(self.durable.database.directory).is_dir() else None
        return self.analytics.store if isinstance(self.analytics.store, Portable) else None

    @property
    def configured(self) -> Analytics:
        """The application's `Analytics`. Raises `CommandError` if only the directory is known."""
        if self.analytics is None:
            raise CommandError(f"this command must know the collectors, which a data directory does not tell: {_HOW}")
        return self.analytics

    @property
    def working(self) -> Analytics:
        """The application's `Analytics`, able to deliver. Raises `CommandError` if it is switched off."""
        analytics = self.configured
        if not analytics.active:
            raise CommandError("analytics is off: the setting 'enabled' says so, or a test runner is at work")
        return analytics


def add_arguments(parser: argparse.ArgumentParser, *, directory: bool = True) -> None:
    """Add the arguments that say what to work on. *directory* says whether a data directory is enough."""
    parser.add_argument(
        "--app",
        metavar="MODULE:ATTRIBUTE",
        help=f"the application, its Analytics, or a function that returns either; default: {APP_VARIABLE}",
    )
    if directory:
        parser.add_argument(
            "--data-dir", metavar="DIR", type=Path, help=f"its data directory; default: {DIRECTORY_VARIABLE}"
        )


def find(arguments: argparse.Namespace) -> Target:
    """Return what *arguments*, the framework's own command line or the environment name.

    Raises `CommandError` if they name nothing, or something that doesn't exist.
    """
    app: str | None = arguments.app
    directory: Path | None = getattr(arguments, "data_dir", None)
    brought: Callable[[], Any] | None = getattr(arguments, "application", None)
    if app is None and directory is None:
        if brought is not None:
            return of_application(brought())
        app = os.environ.get(APP_VARIABLE)
        if app is None and hasattr(arguments, "data_dir") and DIRECTORY_VARIABLE in os.environ:
            directory = Path(os.environ[DIRECTORY_VARIABLE])
    if app is not None:
        return of_application(_import(app))
    if directory is None:
        raise CommandError(f"which application? {_HOW}{_OR_DIRECTORY if hasattr(arguments, 'data_dir') else ''}")
    return of_directory(directory)


def of_directory(directory: Path) -> Target:
    """Return the outbox in *directory*. Raises `CommandError` if there is none, and does not create one."""
    if not (directory / FILE).is_file():
        raise CommandError(
            f"there is no analytics database in {str(directory)!r}: name the setting data_dir of an application "
            "that has run, or the application itself with --app"
        )
    return Target(None, None, SqliteOutbox(directory))


def of_application(application: Any) -> Target:
    """Return the `Analytics` of *application*, which may be an `Analytics` or a function that returns either."""
    found = _analytics_in(application)
    if found is None and _is_factory(application):
        application = application()
        found = _analytics_in(application)
    if found is None:
        raise CommandError(
            f"no analytics in {type(application).__name__} {_name(application)!r}: "
            "name the Analytics object itself, or an application with the middleware"
        )
    found.quiet_start()
    outbox = found.outbox
    return Target(found, application, outbox if isinstance(outbox, SqliteOutbox) else None)


def layers(application: Any) -> Iterator[Any]:
    """Yield *application* and the applications that it wraps, the outermost first."""
    build = getattr(application, "build_middleware_stack", None)
    layer = build() if callable(build) and not isinstance(application, type) else application
    while layer is not None:
        yield layer
        wrapped = getattr(layer, "app", None)
        layer = wrapped if callable(wrapped) else None


def _analytics_in(application: Any) -> Analytics | None:
    if isinstance(application, Analytics):
        return application
    extensions: Any = getattr(application, "extensions", None)
    if isinstance(extensions, Mapping):
        found: Any = cast("Mapping[Any, Any]", extensions).get("analytics")
        if isinstance(found, Analytics):
            return found
    if type(application).__module__.startswith("django.core.handlers."):
        # Django's settings are enough. The adapter can be imported because they name it.
        django: Any = importlib.import_module("analytics_middleware_django")
        return cast("Analytics", django.get_analytics())
    if isinstance(application, type):
        return None
    for layer in layers(application):
        if isinstance(found := getattr(layer, "analytics", None), Analytics):
            return found
    return None


def _is_factory(candidate: Any) -> bool:
    if not callable(candidate):
        return False
    try:
        inspect.signature(candidate).bind()
    except (TypeError, ValueError):
        return False
    return True


def _import(path: str) -> Any:
    name, separator, attribute = path.partition(":")
    if not separator or not name or not attribute:
        raise CommandError(f"--app {path!r} is not of the form MODULE:ATTRIBUTE, such as 'shop.main:app'")
    # As with servers, modules in the current directory can be imported.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CommandError(f"--app {path!r}: there is no module {error.name!r}") from error
        raise
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"--app {path!r}: {_name(found)!r} has no attribute {part!r}") from None
    return found


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", None) or type(thing).__name__)

"""The connection to ClickHouse: one client per process, created when first needed; errors without secrets."""

import importlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from analytics_middleware.errors import AnalyticsError, MissingExtraError
from analytics_middleware.outgoing.secret import redact
from analytics_middleware.store.clickhouse.address import Address
from analytics_middleware.store.timeout import QuestionTimeout

Parameters = Mapping[str, Any]
Columns = Mapping[str, Sequence[Any]]
"""Lists of values by column name, all of the same length."""

_TIMED_OUT: Final = frozenset({159, 160})
"""ClickHouse error codes: TIMEOUT_EXCEEDED, TOO_SLOW."""
_CONNECT: Final = 5
"""Seconds that connecting may take."""
_LONGEST: Final = 100_000
"""Bytes of an array in one query: a server accepts at most 128 KiB per form field
(https://clickhouse.com/docs/operations/settings/settings#http_max_field_value_size)."""

_silent: Final = logging.NullHandler()
_inherited: list[Any] = []
"""The parent process's clients. Dropping one would close it, which hangs for an engine whose threads are gone."""


class ClickHouseError(AnalyticsError):
    """ClickHouse is unreachable or returned an error. The message is its own, `code` its error number."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """A client for *address* that several threads may use; each statement may take *timeout* seconds.

    Raises `MissingExtraError` when the library for it is not installed.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._library = _library(address)
        self._client: Any = None
        self._making = threading.Lock()

    def after_fork(self) -> None:
        """In a forked child: don't use or close the parent's connections."""
        if self._client is not None:
            _inherited.append(self._client)
        self._client = None
        self._making = threading.Lock()

    def query(self, sql: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of *sql* with its ``{name:Type}`` placeholders bound to *parameters*."""
        try:
            found: list[tuple[Any, ...]] = self._open().query(sql, parameters=dict(parameters or {})).result_rows
        except Exception as error:  # noqa: BLE001 - the driver also raises errors of lower layers
            raise self._error(error) from None
        return found

    def query_for(self, sql: str, name: str, values: Iterable[str]) -> list[tuple[Any, ...]]:
        """Return the rows of *sql* with ``{name:Array(String)}`` bound to *values*, in several queries if needed."""
        return [row for part in parts(values) for row in self.query(sql, {name: part})]

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run *sql*, which returns no rows."""
        try:
            self._open().command(sql, parameters=dict(parameters or {}))
        except Exception as error:  # noqa: BLE001 - as above
            raise self._error(error) from None

    def insert(self, table: str, columns: Columns, types: Mapping[str, str]) -> None:
        """Insert rows into *table* as one block; *types* are the columns' types."""
        names = list(columns)
        if not columns[names[0]]:
            return
        try:
            self._open().insert(
                table,
                [columns[name] for name in names],
                column_names=names,
                column_type_names=[types[name] for name in names],
                column_oriented=True,
            )
        except Exception as error:  # noqa: BLE001 - as above
            raise self._error(error) from None

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self) -> Any:
        with self._making:
            if self._client is None:
                self._client = self._library.get_client(
                    **self._address.options(),
                    **self._transport(),
                    settings={
                        "max_execution_time": max(1, round(self._timeout)),
                        # Rows only replace rows of the same month, so FINAL costs nothing for merged months.
                        "do_not_merge_across_partitions_select_final": 1,
                        # An insert returns only after the row is on its shard.
                        "distributed_foreground_insert": 1,
                        "max_partitions_per_insert_block": 0,
                    },
                )
            return self._client

    def _transport(self) -> dict[str, Any]:
        if self._address.scheme == "chdb":
            return {}
        return {
            "connect_timeout": _CONNECT,
            "send_receive_timeout": max(1, round(self._timeout)) + _CONNECT,
            # A session would not allow two queries at once.
            "autogenerate_session_id": False,
            # A pool not shared with other clients or the parent process.
            "dedicated_pool": True,
            # Lists of values may exceed the length of a URL.
            "form_encode_query_params": True,
        }

    def _error(self, error: Exception) -> Exception:
        if isinstance(error, AnalyticsError):
            return error
        code = getattr(error, "code", None)
        if code in _TIMED_OUT:
            return QuestionTimeout(self._timeout)
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            # The driver puts the network's errors at the end of a URL with all settings.
            error = error.__cause__
        text = redact(str(error) or type(error).__name__, [self._address.password])
        return ClickHouseError(f"{self._address}: {text[:1000]}", code)


def parts(values: Iterable[str]) -> Iterator[list[str]]:
    """Yield *values* in lists that fit into one parameter."""
    part: list[str] = []
    length = 0
    for value in values:
        # The size of ClickHouse's format: in quotes, special characters with a backslash.
        size = len(msgspec.json.encode(value)) + value.count("'") + 1
        if part and length + size > _LONGEST:
            yield part
            part, length = [], 0
        part.append(value)
        length += size
    if part:
        yield part


def _library(address: Address) -> Any:
    try:
        if address.scheme == "chdb":
            importlib.import_module("chdb")
        library = importlib.import_module("clickhouse_connect")
    except ImportError as error:
        raise MissingExtraError(
            f"the store {address} needs {error.name}: pip install "
            + ("chdb" if error.name == "chdb" else "'analytics-middleware[clickhouse]'")
        ) from None
    # Or its own words for what we report would be printed wherever logging is not set up.
    logging.getLogger(library.__name__).addHandler(_silent)
    return library

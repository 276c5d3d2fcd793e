"""ClickHouse's HTTP interface before chDB, the same engine in a wheel: as much of it as clients use.

``python bridge.py DIRECTORY PORT``: a process of its own, so that it can be killed as a server can, and started again
with the tables that it had. After https://clickhouse.com/docs/interfaces/http: queries in the URL or the body, inserts
in any format with their rows in the body, ``param_*``, settings, databases, users, compression both ways (lz4, zstd,
gzip), errors with their codes, and a summary of rows written, counted in the table's own engine and not taken from the
request. ``POST /fault`` tells it to misbehave; see `servers.Fault`.
"""

import gzip
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
import zlib
from base64 import b64decode
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import chdb
import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Of the transport, and no settings of the engine.
_TRANSPORT = frozenset(
    {"buffer_size", "client_protocol_version", "compress", "database", "decompress", "default_format"}
    | {"enable_http_compression", "http_headers_progress_interval_ms", "password", "query", "query_id", "quota_key"}
    | {"role", "send_progress_in_http_headers", "session_check", "session_id", "session_timeout", "user"}
    | {"wait_end_of_query"}
)
_MAX_FIELD = 128 * 1024
"""Bytes of a form's field that a server takes unless it is configured otherwise (http_max_field_value_size)."""
_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?P<into>.+?)(?P<settings>\s+SETTINGS\s+.+?)?\s+FORMAT\s+(?P<format>\w+)[ \t]*(?:;|\r?\n|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_STATUS = {"60": 404, "81": 404, "47": 404, "62": 400, "53": 400, "516": 401, "159": 408, "241": 500}
_CODECS = {
    # A driver compresses each block of an insert by itself, and `lz4.frame.decompress` reads the first one only.
    "lz4": (lz4.frame.compress, lambda data: lz4.frame.open(io.BytesIO(data)).read()),
    "zstd": (zstd.compress, zstd.decompress),
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
}


class QueryError(Exception):
    """What the engine, or the bridge, says of a query that it does not run."""


class Engine:
    """chDB on *directory*, for one query at a time."""

    def __init__(self, directory: str) -> None:
        self._connection = chdb.connect(directory)
        self._lock = threading.Lock()

    def run(self, sql: bytes, data: bytes, parameters: dict[str, str]) -> tuple[bytes, int]:
        """Return the answer and how many rows were written."""
        settings = {key: value for key, value in parameters.items() if key not in _TRANSPORT}
        with self._lock:
            self._query(f"USE {_name(parameters.get('database', 'default'))}")
            try:
                for key, value in settings.items():
                    self._query(f"SET {_name(key)} = {_text(value)}")
                found = _INSERT.match(sql)
                if found is not None:
                    return b"", self._insert(found, data or sql[found.end() :])
                return self._query(sql.decode(), parameters.get("default_format", "TabSeparated")), 0
            finally:
                for key in settings:
                    if not key.startswith("param_"):
                        self._query(f"SET {_name(key)} = DEFAULT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _insert(self, found: "re.Match[bytes]", data: bytes) -> int:
        with tempfile.NamedTemporaryFile(suffix=".block") as file:
            file.write(data)
            file.flush()
            form = found["format"].decode()
            source = f"file({_text(file.name)}, {_text(form)})"
            into = found["into"].decode()
            settings = (found["settings"] or b"").decode()
            rows = int(self._query(f"SELECT count() FROM {source}")) if data else 0
            if rows:
                self._query(f"INSERT INTO {into} FROM INFILE {_text(file.name)}{settings} FORMAT {form}")
        return rows

    def _query(self, sql: str, form: str = "TabSeparated") -> bytes:
        try:
            return bytes(self._connection.query(sql, form).bytes() or b"")
        except Exception as error:
            text = str(error)
            raise QueryError(text[text.find("Code: ") :] if "Code: " in text else text) from None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Bridge"

    def do_GET(self) -> None:
        if self.path in ("/ping", "/"):
            self._answer(200, b"Ok.\n")
        else:
            self._query(b"")

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/fault":
            self.server.faults.append(json.loads(body))
            self._answer(200, b"")
        else:
            self._query(body)

    def _query(self, body: bytes) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            self._check_user(parameters)
            encoding = self.headers.get("Content-Encoding", "")
            if encoding:
                body = _CODECS[encoding][1](body)
            if self.headers.get_content_type() == "multipart/form-data":
                parameters |= _form(self.headers["Content-Type"], body)
                body = b""
            asked = parameters.get("query", "").encode()
            sql, data = (asked, body) if _INSERT.match(asked) else (asked + body, b"")
            fault = self.server.fault(sql)
            if fault.get("do") == "refuse":
                raise QueryError(fault["said"])
            if fault.get("do") == "die_before":
                os._exit(9)
            if fault.get("do") == "slow":
                time.sleep(fault["seconds"])
            answer, rows = self.server.engine.run(sql, data, parameters)
        except QueryError as error:
            text = str(error)
            code = (re.findall(r"Code: (\d+)", text) or ["1002"])[0]
            self._answer(_STATUS.get(code, 500), text.encode() + b"\n", {"X-ClickHouse-Exception-Code": code})
            return
        if fault.get("do") == "die_after":
            # The rows are there, and nobody is told.
            os._exit(9)
        if fault.get("do") == "hang_up":
            self.close_connection = True
            return
        if fault.get("do") == "late":
            time.sleep(fault["seconds"])
        summary = {"read_rows": "0", "written_rows": str(rows), "result_rows": str(rows)}
        headers = {
            "X-ClickHouse-Summary": json.dumps(summary),
            "X-ClickHouse-Query-Id": parameters.get("query_id", str(uuid4())),
            "X-ClickHouse-Format": parameters.get("default_format", "TabSeparated"),
            "X-ClickHouse-Server-Display-Name": "bridge",
            "X-ClickHouse-Timezone": "UTC",
        }
        if parameters.get("enable_http_compression") == "1":
            accepted = [each.strip() for each in self.headers.get("Accept-Encoding", "").split(",")]
            codec = next((each for each in accepted if each in _CODECS), None)
            if codec is not None:
                answer = _CODECS[codec][0](answer)
                headers["Content-Encoding"] = codec
        self._answer(200, answer, headers)

    def _check_user(self, parameters: dict[str, str]) -> None:
        user, password = parameters.get("user", "default"), parameters.get("password", "")
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = b64decode(credentials).decode().partition(":")
        elif "X-ClickHouse-User" in self.headers:
            user, password = self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", "")
        if (user, password) != ("default", os.environ.get("BRIDGE_PASSWORD", "")):
            raise QueryError(f"Code: 516. DB::Exception: {user}: Authentication failed. (AUTHENTICATION_FAILED)")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts: list[bytes] = []
        while (size := int(self.rfile.readline().split(b";")[0], 16)) > 0:
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Bridge(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = Engine(directory)
        self.faults: list[dict[str, Any]] = []

    def fault(self, sql: bytes) -> dict[str, Any]:
        """Return what is to go wrong with *sql*, once."""
        for fault in self.faults:
            if re.search(fault["on"].encode(), sql, re.IGNORECASE):
                self.faults.remove(fault)
                return fault
        return {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is what tests are about; anything else shows in the test's own failure.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form, which hold parameters that are too long for a URL, but not for a field."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if len(value) > _MAX_FIELD:
            raise QueryError("Code: 1000. DB::Exception: HTML Form Exception: Field value too long. (POCO_EXCEPTION)")
        fields[name] = value.decode()
    return fields


def _name(text: str) -> str:
    if not re.fullmatch(r"\w+", text):
        raise QueryError(f"Code: 62. DB::Exception: {text} is no name. (SYNTAX_ERROR)")
    return text


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    Bridge(sys.argv[1], int(sys.argv[2])).serve_forever()

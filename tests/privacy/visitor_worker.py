"""One of several processes that serve a site: it is told of requests on its standard input, one line each round."""

import json
import os
import sys

from analytics_middleware import Analytics
from analytics_middleware.collectors import BatchCollector
from analytics_middleware.context import RequestContext


class File(BatchCollector):
    """Appends what it gets to a file, whole lines in one write."""

    name = "file"
    third_party = False
    bots = True
    linger = 0.0

    def __init__(self, path):
        super().__init__()
        self.path = path

    def send(self, events):
        lines = [json.dumps([event.path, event.anon_id, event.visit.session_id]) + "\n" for event in events]
        out = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(out, "".join(lines).encode())
        os.close(out)


def main(directory, out):
    analytics = Analytics([File(out)], data_dir=directory, store=None, enabled=True)
    for line in sys.stdin:
        for number, address, agent, at in json.loads(line):
            context = RequestContext(analytics)
            context.path = f"/{number}"
            context.peer = address
            context.entered = at
            context.headers = [(b"host", b"shop.example"), (b"user-agent", agent.encode())]
            context.respond(200, [(b"content-type", b"text/html")])
            context.finish(0.001)
        print(json.dumps(analytics.flush(20)), flush=True)
    analytics.close(5)


if __name__ == "__main__":
    main(*sys.argv[1:])

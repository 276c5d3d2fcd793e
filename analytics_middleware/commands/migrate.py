"""``migrate``: creates the tables of a ClickHouse store, or brings them to this program's version."""

import argparse

from analytics_middleware.commands import CommandError, target
from analytics_middleware.store.clickhouse import ClickHouseStore

NAME = "migrate"
HELP = "Create the tables of the ClickHouse store, or bring them to the version of this program."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser, directory=False)
    parser.add_argument("--print", action="store_true", help="only print the statements")


def run(arguments: argparse.Namespace) -> int:
    """Migrate, or print the statements."""
    store = target.find(arguments).configured.store
    if not isinstance(store, ClickHouseStore):
        raise CommandError("this application's store is not on ClickHouse: there is nothing to migrate")
    if arguments.print:
        for statement in store.migrations():
            print(f"{statement};")
        return 0
    before, after = store.migrate()
    if before == after:
        print(f"The tables in {store.address} already have version {after}.")
    elif before == 0:
        print(f"Created the tables in {store.address}, version {after}.")
    else:
        print(f"Brought the tables in {store.address} from version {before} to {after}.")
    return 0

"""The search service: finds products by a word. Its operator says that it cannot be restarted by a machine."""

import os
import sqlite3

from web import Query, Reply, serve

CATALOG = os.environ["FLEET_CATALOG"]


def find(query: Query) -> Reply:
    """Return the products whose name contains the word."""
    with sqlite3.connect(f"file:{CATALOG}?mode=ro", uri=True) as catalog:
        rows = catalog.execute("SELECT name FROM products WHERE name LIKE ? LIMIT 10", (f"%{query.get('q', '')}%",)).fetchall()
    return 200, {"found": [name for (name,) in rows]}


def health(_query: Query) -> Reply:
    """Say that searching works, by searching."""
    return find({"q": "a"})


if __name__ == "__main__":
    serve(int(os.environ["FLEET_SEARCH_PORT"]), {"/find": find, "/health": health})

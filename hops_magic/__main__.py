"""Command line of hops_magic: ``python -m hops_magic cluster``, and the embedded cluster's daemon itself."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    """Run a command; return the exit status."""
    if words[:2] == ["cluster", "serve"]:
        return _serve(words[2:])
    from hops_magic.engine.cluster import Clusters
    from hops_magic.errors import HopsError
    from hops_magic.magics.cluster import ClusterCommand
    from hops_magic.options import HelpShown

    if words[:1] != ["cluster"]:
        sys.stderr.write("usage: python -m hops_magic cluster [start|scale|connect|stop] (-h for more)\n")
        return 2
    try:
        shown = ClusterCommand(Clusters(), prog="python -m hops_magic cluster").run(words[1:])
    except HelpShown:
        return 0
    except HopsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{shown!r}\n")
    return 0


def _serve(words: list[str]) -> int:
    """Become the embedded cluster; for :mod:`hops_magic.engine.embedded` only."""
    parser = argparse.ArgumentParser(prog="python -m hops_magic cluster serve")
    parser.add_argument("channel", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--idle-s", type=float, required=True)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(words)
    # before any import that might start a thread; the kernel reaps the parent, init the child
    if os.fork():
        os._exit(0)
    from hops_magic.engine.connection import ConnectionFile
    from hops_magic.engine.daemon import serve

    channel = socket.socket(fileno=options.channel)
    serve(
        channel,
        options.folder,
        ConnectionFile(),
        workers=options.workers,
        threads=options.threads,
        idle_s=options.idle_s,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

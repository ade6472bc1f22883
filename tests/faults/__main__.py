"""`make faults`: a campaign for as long as it is told, with a seed that is printed and can be given again."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.campaign import main

parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
parser.add_argument("--seed", type=int, default=None, help="the chances of an earlier campaign (default: new ones)")
parser.add_argument("--seconds", type=float, default=60.0, help="for how long faults happen (default: 60)")
parser.add_argument("--keep", action="store_true", help="keep the processes' logs, and say where")
arguments = parser.parse_args()
seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000_000)
folder = Path(tempfile.mkdtemp(prefix="stoppress-faults-"))
status = 1
try:
    status = asyncio.run(main(seed, arguments.seconds, folder))
finally:
    if arguments.keep or status:
        print(f"the processes' logs are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
sys.exit(status)

"""Node: what the peers there have in common. Their servers are the scripts beside this file."""

import json
import shutil
import subprocess
from pathlib import Path

from bench.peers import Controlled, lacks

FOLDER = Path(__file__).parent


class NodePeer(Controlled):
    """A controlled peer that is a script here, around a package of npm's."""

    package = ""
    script = ""

    def missing(self) -> str | None:
        return lacks({"node": "Node"}, "apt-get install nodejs npm") or lacks(
            {str(self._manifest): f"npm's {self.package}"}, "make peers"
        )

    @property
    def _manifest(self) -> Path:
        return FOLDER / "node_modules" / self.package / "package.json"

    def command(self) -> list[str]:
        node = shutil.which("node")
        assert node is not None
        version = json.loads(self._manifest.read_text())["version"]
        runtime = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        self.name = f"{type(self).name.partition(' ')[0]} {version} (Node {runtime.removeprefix('v')})"
        return [node, str(FOLDER / self.script)]

"""What a web process asks of the system before it serves."""

import platform
import subprocess
import sys

import pytest

# Threads that live at the same time, and how many mappings look like an arena of glibc's: 64 MB, at a multiple of that.
ARENAS = """
import sys, threading
from service.web.server import share_arena
if sys.argv[1] == "shared":
    share_arena()
met, kept = threading.Barrier(9), []
def work():
    kept.append([bytes(1_000) for _ in range(200)])
    met.wait()
    met.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
met.wait()
starts = [int(line.split("-")[0], 16) for line in open("/proc/self/maps") if " rw-p " in line]
print(sum(start % (64 << 20) == 0 for start in starts))
met.wait()
"""


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", ARENAS, how], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives threads arenas of their own")
def test_the_threads_of_a_web_process_share_their_memory() -> None:
    assert arenas("each its own") > 4
    assert arenas("shared") == 0

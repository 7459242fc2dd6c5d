import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from recovery.settings import Settings
from tests.support import eventually
from workers.platform.children import Child, Command
from workers.platform.flower import free_address
from workers.platform.pdeathsig import SUPPORTED

ROOT = Path(__file__).parents[2]


def script(text: str) -> Command:
    return Command(name="script", argv=(sys.executable, "-c", text), environment=dict(os.environ), ready=lambda _: True)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def drained(child: Child) -> bytes:
    assert child.output is not None
    os.set_blocking(child.output, True)
    data = b""
    while part := os.read(child.output, 4096):
        data += part
    os.close(child.output)
    return data


def test_both_streams_of_a_child_come_through_one_pipe() -> None:
    child = Child(script("import sys; print('out', flush=True); print('err', file=sys.stderr)"))

    child.start()
    said = drained(child)
    eventually(lambda: not child.alive())

    assert said == b"out\nerr\n"
    assert child.ending() == "exit code 0"


def test_ending_a_child_ends_its_whole_group_even_if_the_child_itself_is_gone() -> None:
    child = Child(script("import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"))
    child.start()
    assert child.output is not None
    eventually(lambda: not child.alive())
    os.set_blocking(child.output, True)
    grandchild = psutil.Process(int(os.read(child.output, 100)))
    assert grandchild.is_running()

    child.end()

    eventually(lambda: gone(grandchild))
    os.close(child.output)


def test_a_child_says_which_signal_killed_it() -> None:
    child = Child(script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))

    child.start()
    drained(child)
    eventually(lambda: not child.alive())

    assert child.ending() == "killed by SIGKILL"


def test_where_there_is_no_leash_a_group_follows_its_parent_into_death() -> None:
    text = """
import subprocess, sys
child = '''
import os, subprocess, sys, threading
from workers.platform.pdeathsig import follow
follow(os.getppid(), every=0.05)
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
threading.Event().wait()
'''
leader = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, start_new_session=True)
leader.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    member = psutil.Process(int(parent.stdout.readline()))
    leader = member.parent()
    assert leader is not None

    parent.kill()
    parent.wait()

    eventually(lambda: gone(leader) and gone(member))
    parent.stdout.close()


@pytest.mark.skipif(not SUPPORTED, reason="only Linux can tie a process to its parent")
def test_a_leashed_process_ends_with_a_parent_that_is_killed() -> None:
    text = """
import subprocess, sys
from workers.platform.pdeathsig import leashed
child = subprocess.Popen(leashed([sys.executable, '-c', 'print(1, flush=True); input()']), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""
    parent = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    eventually(lambda: gone(child))


def test_flower_takes_the_next_port_when_its_own_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        _, port = free_address(Settings(flower_port=taken))

    assert port != taken

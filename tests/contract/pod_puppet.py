"""What precedes puppet.py in a pod: it is process 1, and needs a directory that the test sees and a sign of life."""

import fcntl
import os
import signal
import uuid
from pathlib import Path

os.umask(0)  # whoever runs the test is not who runs in the pod
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # without a handler process 1 does not hear it
home = Path("/strings", os.uname().nodename)  # the name of the pod
home.mkdir(exist_ok=True)
os.chdir(home)
# The kernel lets go of the lock when the process ends, however it ends; until then its descriptor stays open.
fcntl.flock(os.open(f"alive-{uuid.uuid4()}", os.O_CREAT | os.O_RDONLY), fcntl.LOCK_EX)

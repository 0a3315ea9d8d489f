"""The `hotswap` command: it asks the running generation over its control socket and shows the answer."""

import os
import signal

# PID 1 has no default actions, pid_namespaces(7): a container that is told to end while it starts must not wait for
# SIGKILL. Here, before anything large is imported.
if os.getpid() == 1:
    for _number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(_number, lambda number, _frame: os._exit(128 + number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))  # `hotswap.idle` had them wait

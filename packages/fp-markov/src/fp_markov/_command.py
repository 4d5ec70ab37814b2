"""How a command ends: its work done, or one line that says why not."""

import os
import sys
from collections.abc import Callable


def answer(program: str, work: Callable[[], None]) -> int:
    """Do the work; return the exit status, with the user's mistakes and the machine's limits told in one line."""
    try:
        work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted\n")
        return 128 + 2  # as a shell reports SIGINT
    except BrokenPipeError:  # who reads has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        return 128 + 13  # as a shell reports SIGPIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"{program}: {place}{error.strerror or error}\n")
        return 1
    except (ValueError, FloatingPointError, MemoryError) as error:
        sys.stderr.write(f"{program}: {str(error) or 'out of memory'}\n")
        return 1
    return 0

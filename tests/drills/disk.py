"""A disk that fails at a chosen call, and one that forgets what was not synchronized.

Both stand between this process and the operating system, for the paths below one folder: every open, read,
write, synchronization, replacement, removal, listing and lock passes through `Calls`.
"""

import builtins
import errno
import fcntl
import io
import os
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

FUNCTIONS = (
    *("open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir"),
    *("chmod", "listdir", "scandir", "stat"),
)


class Calls:
    """All calls that concern a folder, in order; one of them fails, if it is asked for.

    Args:
        root: the folder.
        fail: the number of the call that fails, from 0.
        code: with which error.
    """

    def __init__(self, root, fail=-1, code=errno.EIO):
        self.root, self.fail, self.code = str(root), fail, code
        self.names: list[str] = []
        self.log: list[tuple] = []
        self.paths: dict[int, str] = {}

    def __call__(self, name, place, *details):
        place = self.paths.get(place) if isinstance(place, int) else os.fspath(place)
        if not isinstance(place, str) or not place.startswith(self.root):
            return
        self.names.append(name)
        if len(self.names) - 1 == self.fail:
            raise OSError(self.code, os.strerror(self.code), place)
        self.log.append((name, place, *details))

    @contextmanager
    def counted(self):
        """Let all calls pass through this."""
        calls, real = self, {name: getattr(os, name) for name in FUNCTIONS}
        open_file, flock = io.open, fcntl.flock

        def wrapped(name):
            def call(place, *arguments, **options):
                calls(name, place, *(os.fspath(a) for a in arguments if isinstance(a, str | os.PathLike)))
                found = real[name](place, *arguments, **options)
                if name == "open":
                    calls.paths[found] = os.fspath(place)
                return found

            return call

        class File(io.FileIO):
            def read(self, *arguments):
                calls("read", self.fileno())
                return super().read(*arguments)

            def readall(self):
                calls("read", self.fileno())
                return super().readall()

            def readinto(self, buffer):
                calls("read", self.fileno())
                return super().readinto(buffer)

            def write(self, data):
                calls("write", self.fileno(), bytes(data))
                return super().write(data)

        def opened(file, mode="r", *arguments, **options):
            place = calls.paths.get(file) if isinstance(file, int) else file
            inside = isinstance(place, str | os.PathLike) and os.fspath(place).startswith(calls.root)
            if not inside or "b" not in mode:
                return open_file(file, mode, *arguments, **options)
            if not isinstance(file, int):
                calls("open", place)
            raw = File(file, mode.replace("b", ""), closefd=options.get("closefd", True))
            calls.paths[raw.fileno()] = os.fspath(place)
            return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)

        def locked(handle, operation):
            calls("flock", handle)
            return flock(handle, operation)

        patches = [patch.object(os, name, wrapped(name)) for name in FUNCTIONS]
        patches += [patch.object(module, "open", opened) for module in (io, builtins)]
        patches.append(patch.object(fcntl, "flock", locked))
        for each in patches:
            each.start()
        try:
            yield self
        finally:
            for each in patches:
                each.stop()


def crash_states(log, since=0):
    """What may lie on the disk after a power cut, from the calls that were made: files by path, each once.

    The cut comes after any number of calls, `since` at least. Names (creations, replacements, removals) are
    on the disk up to some call, which is not before the last synchronization of a folder; of the bytes that
    are not synchronized, none, half or all are.
    """
    seen = set()
    for cut in range(since, len(log) + 1):
        done = log[:cut]
        written = {call[1] for call in done if call[0] == "write"}
        folders = [i for i, call in enumerate(done) if call[0] == "fsync" and call[1] not in written]
        names = [i for i, call in enumerate(done) if call[0] in ("write", "replace", "unlink")]
        safe = max(folders, default=-1)
        for last in {safe, *(i for i in names if i > safe)}:
            for share in (0.0, 0.5, 1.0):
                state = _state(done, last, share)
                key = tuple(sorted(state.items()))
                if key not in seen:
                    seen.add(key)
                    yield state


def _state(done, last, share):
    """Files by path, where names are on the disk up to call `last`, and a share of what is not safe."""
    content: dict[str, bytes] = {}
    safe: dict[str, int] = {}
    names: dict[str, str] = {}  # on the disk: which file, by the name that it was made under
    for number, (name, path, *details) in enumerate(done):
        if name == "write":
            if path not in content and number <= last:
                names[path] = path
            content[path] = content.get(path, b"") + details[0]
        elif name == "fsync" and path in content:
            safe[path] = len(content[path])
        elif name == "replace" and number <= last:
            names[details[0]] = path
            names.pop(path, None)
        elif name == "unlink" and number <= last:
            names.pop(path, None)
    found = {}
    for name, made_as in names.items():
        data, kept = content[made_as], safe.get(made_as, 0)
        found[name] = data[: kept + int(share * (len(data) - kept))]
    return found


def lay(state):
    """Put files where they are in a state."""
    for path, data in state.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)

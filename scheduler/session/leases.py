"""A client's private folders: sealed datasets below the home, their keys in memory.

In: making one where what crashed clients left is removed first. Not in: how a living client's is
told from one that was left (:mod:`fitcast.history.locked_folders`), and what is in them.
"""

from pathlib import Path
from typing import Final

from fitcast.errors import BackendError
from fitcast.history.locked_folders import LockedFolder, remove_left

PREFIX: Final = "fitcast-lease-"


class Lease:
    """A folder of this process below `root`; `close` removes it.

    Parameters
    ----------
    root : Path
        Where it is made, if need be with `root` itself. What crashed processes of this user left
        there is removed.

    Raises
    ------
    BackendError
        If none can be made there.
    """

    def __init__(self, root: Path) -> None:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_left(root, PREFIX)
            self._folder = LockedFolder(root, PREFIX)
        except OSError as error:
            raise BackendError(
                f"no folder can be made in {root} ({error}): check its permissions and the free "
                "space, or give another home (FITCAST_HOME)"
            ) from error
        self.path = self._folder.path

    def close(self) -> None:
        """Remove the folder and all in it. A copy of this process (fork) leaves it alone."""
        self._folder.close()

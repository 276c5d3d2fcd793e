"""What kind of file system the data directory is on: SQLite's locks don't hold on those of a network."""

import os
import re
import sys
from pathlib import Path

from analytics_middleware.errors import ConfigurationError

_NETWORK = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "9p",
        "ceph",
        "glusterfs",
        "lustre",
        "gfs",
        "gfs2",
        "ocfs2",
        "beegfs",
        "davfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.rclone",
        "fuse.ceph",
    ]
)


def refuse_network_file_system(directory: Path) -> None:
    """Raise `ConfigurationError` if *directory* is on a network file system, where SQLite's locks are unreliable."""
    kind = file_system(directory)
    if kind in _NETWORK:
        raise ConfigurationError(
            f"analytics setting 'data_dir' is {str(directory)!r}, on the network file system {kind}; "
            "it must be on a disk of this host"
        )


def file_system(directory: Path) -> str | None:
    """Return the type of the file system that *directory* is on, or None if the system doesn't tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(sys.getfilesystemencoding(), "surrogateescape").splitlines()
        target = os.path.realpath(directory)
    except OSError:
        return None
    best, kind = "", None
    for line in mounts:
        _, point, name, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point).rstrip("/")
        if (target == point or target.startswith(point + "/")) and len(point) >= len(best):
            best, kind = point, name
    return kind

#!/usr/bin/env python3
"""A file system that passes everything through to a folder until a failure is set.

usage: faulty_fs.py FOLDER MOUNT_POINT MOOD

MOOD is a file of words. While it says "eio", everything that touches the folder fails with an input/output error;
while it says "hang", it waits; while it says "hold:NAME", whatever touches a path with NAME in it waits. Other words
are manners of file systems that are well all the same:

  numbers         a file has another inode number at each look, as on exFAT and FAT when the kernel forgot it
  no-folder-sync  folders cannot be synced, as on some network shares
  no-totals       statfs knows no sizes, as on some object stores that are mounted

Missing or empty: all is well. Runs in the foreground until it is unmounted.
"""

import errno
import itertools
import os
import sys
import time

from fuse import FUSE, FuseOSError, Operations


class FaultyFolder(Operations):
    def __init__(self, folder, mood):
        self.folder = folder
        self.mood_file = mood
        self.numbers = itertools.count(1 << 32)

    def mood(self):
        try:
            with open(self.mood_file, encoding="ascii") as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def waits(self, paths):
        mood = self.mood()
        held = [word.removeprefix("hold:") for word in mood if word.startswith("hold:")]
        return "hang" in mood or any(name in path for name in held for path in paths)

    def __call__(self, operation, *arguments):
        paths = [argument for argument in arguments if isinstance(argument, str)]
        while self.waits(paths):
            time.sleep(0.05)
        # Handles must be given back even by a disk that is dead.
        if operation != "release" and "eio" in self.mood():
            raise FuseOSError(errno.EIO)
        try:
            return super().__call__(operation, *arguments)
        except OSError as error:
            raise FuseOSError(error.errno) from error

    def at(self, path):
        return os.path.join(self.folder, path.lstrip("/"))

    def getattr(self, path, handle=None):
        about = os.lstat(self.at(path))
        names = ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid", "st_blocks")
        number = next(self.numbers) if "numbers" in self.mood() else about.st_ino
        return {"st_ino": number} | {name: getattr(about, name) for name in names}

    def readdir(self, path, handle):
        return [".", ".."] + os.listdir(self.at(path))

    def statfs(self, path):
        about = os.statvfs(self.at(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize",
                 "f_namemax")
        is_known = "no-totals" not in self.mood()
        return {name: getattr(about, name) if is_known or name in ("f_bsize", "f_frsize", "f_namemax") else 0
                for name in names}

    def mkdir(self, path, mode):
        return os.mkdir(self.at(path), mode)

    def rmdir(self, path):
        return os.rmdir(self.at(path))

    def unlink(self, path):
        return os.unlink(self.at(path))

    def rename(self, old, new):
        return os.rename(self.at(old), self.at(new))

    def chmod(self, path, mode):
        return os.chmod(self.at(path), mode)

    def chown(self, path, uid, gid):
        return os.chown(self.at(path), uid, gid)

    def utimens(self, path, times=None):
        return os.utime(self.at(path), times)

    def create(self, path, mode, fi=None):
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open(self, path, flags):
        # The kernel sends the place of every write itself.
        return os.open(self.at(path), flags & ~os.O_APPEND)

    def read(self, path, size, offset, handle):
        return os.pread(handle, size, offset)

    def write(self, path, data, offset, handle):
        return os.pwrite(handle, data, offset)

    def truncate(self, path, length, handle=None):
        return os.truncate(self.at(path) if handle is None else handle, length)

    def flush(self, path, handle):
        return 0

    def release(self, path, handle):
        return os.close(handle)

    def fsync(self, path, datasync, handle):
        return os.fdatasync(handle) if datasync else os.fsync(handle)

    def fsyncdir(self, path, datasync, handle):
        if "no-folder-sync" in self.mood():
            raise FuseOSError(errno.EINVAL)
        return 0


if __name__ == "__main__":
    _, source, mount_point, mood_file = sys.argv
    FUSE(FaultyFolder(source, mood_file), mount_point, foreground=True, attr_timeout=0, entry_timeout=0,
         use_ino=True)

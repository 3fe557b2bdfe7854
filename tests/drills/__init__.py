"""Drills: what disks, damaged files and careless calls do, done on purpose."""

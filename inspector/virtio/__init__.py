"""Virtio as data and pure functions: what a device's status and features say, how its rings lie in memory."""

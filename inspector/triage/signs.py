"""By what each cause is known, in words: what its signature looks for. Held to the catalogue by a test."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AGAIN = (
    "A vCPU's registers hold the same interrupt in at least three samples, and the tables still refuse that access: "
)

SIGNS: Mapping[str, str] = MappingProxyType(
    {
        "software-walk-fails": "A vCPU of the host holds a guest's storage interrupt, at an address with nothing "
        "behind it; the hardware's walk finds the instruction that made the access, and KVM's does not.",
        "software-walk-astray": "The same, and KVM's walk finds the instruction elsewhere than the hardware's.",
        "process-entry-cleared": f"{AGAIN}the process-table entry of its PID is empty. Or a vCPU runs user code of "
        "such a PID.",
        "pid-past-table": f"{AGAIN}its PID lies past the process table. Or a vCPU runs user code of such a PID.",
        "process-table-outside-ram": f"{AGAIN}the process-table entry lies where no RAM is.",
        "partition-entry-bad": f"{AGAIN}the partition table's entry describes no radix tables.",
        "mmio-page-not-mapped": f"{AGAIN}no entry leads on, in a region where Linux maps devices. Or a device that is "
        "driven has registers that the kernel maps nowhere, or less often than those of its like.",
        "page-not-mapped": f"{AGAIN}no entry leads on.",
        "directory-misaligned": f"{AGAIN}the walk went by a base that is not aligned to its table.",
        "directory-outside-ram": f"{AGAIN}the walk went by a base where no RAM is.",
        "bad-configuration": f"{AGAIN}an entry on the way describes a table that the MMU does not support.",
        "privileged-from-user": f"{AGAIN}the leaf is privileged, and MSR[PR] was set.",
        "execute-protected": f"{AGAIN}the fetch ends at a leaf that may not be executed, or IAMR forbids it.",
        "write-protected": f"{AGAIN}the store ends at a leaf that may not be written.",
        "second-stage-hole": "A guest's storage interrupt stays in a vCPU's registers, for the guest's own code, its "
        "tables or, of a guest that no KVM emulates devices for, its data: the host has nothing there.",
        "second-stage-protection": f"{AGAIN}the partition-scoped leaf lacks the right.",
        "rc-not-settable": "DSISR or HDSISR has SET_RC in at least three samples, of a leaf in which R or C is clear.",
        "ea-out-of-range": f"{AGAIN}no tree covers the address.",
        "access-faults": f"{AGAIN}for a reason that has no name of its own here.",
        "key-closed": f"{AGAIN}key 0 of AMR forbids it.",
        "key-open": "A vCPU stays in one short loop of the kernel with key 0 of AMR open, where the kernel shuts it "
        "elsewhere.",
        "mmio-wrong-address": "A driven device's registers lack a mapping, and an entry where Linux maps devices leads "
        "to where nothing answers.",
        "mmio-stale": "The same, and where other devices are says that it is the device which was moved.",
        "mmio-not-io": "A device's registers are mapped where Linux maps devices, with an attribute other than I/O.",
        "ring-not-ram": "The device has an address for a ring where no RAM is.",
        "buffer-not-ram": "A descriptor behind a pending head has an address where no RAM is.",
        "ring-index-impossible": "The driver's index is further ahead of the device's than the queue is large, or the "
        "used index in RAM is not the one that the device wrote. Or a pending head, or a descriptor behind it, is none "
        "that can be.",
        "interrupt-not-taken": "Used buffers that the driver asked to be interrupted for stay untaken from sample to "
        "sample, and the device has raised the interrupt.",
        "used-not-taken": "The same, and the driver's index or flag asked for no interrupt.",
        "available-not-taken": "Buffers stay pending from sample to sample, or at the first stop, and the device was "
        "to be notified of them.",
        "available-not-notified": "The same, and the device asked not to be notified.",
        "request-not-finished": "A disk holds the same requests from the first sample to the last.",
        "device-needs-reset": "NEEDS_RESET is set in a device's status, or QEMU calls it broken.",
        "device-reset": "A driver maps a device's registers, and its status lacks DRIVER_OK.",
        "device-disabled": "QEMU calls the device disabled, as one without bus mastering.",
        "device-failed": "FAILED is set in a device's status.",
        "unexplained": "A guest comes back to one instruction in every sample, and every walk that it needs goes well.",
        "healthy": "None of all these.",
    }
)

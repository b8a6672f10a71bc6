"""Every decision that the life cycle makes: its slug, and the sentence that it is told with.

The values of a sentence are those that :meth:`inspector.kvm.trace.Trace.say` is given, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DECISIONS: Mapping[str, str] = MappingProxyType(
    {
        # the fault
        "unsupported-mmu": "DSISR says that the MMU cannot use what it was given: KVM gives up on the guest",
        "fetch-without-reason": "it is a fetch, which this kernel takes for a plain read whatever its reasons are",
        "bad-access": "DSISR says that this access is not allowed to such memory: the guest is to see it as a DSI",
        "guest-real": "guest real address {0:#x}, from ASDR {1:#x} and the low bits of the EA",
        "guest-real-of-table": "guest real address {0:#x}, from ASDR {1:#x}: of an entry of the guest's own tables",
        "slot": "the memory slot at {0:#x} (+{1:#x}) holds it",
        "no-slot": "no memory slot holds it",
        "slot-invalid": "the memory slot at {0:#x} (+{1:#x}) is being taken away, so that it holds nothing",
        "table-outside-memory": "a table of the guest's leads outside its memory: the guest is to see it as a DSI",
        "set-rc-outside-memory": "R or C is to be set outside its memory: the guest is to see it as a DSI",
        "emulate-mmio": "so it is a device: KVM emulates the instruction",
        "read-only-slot": "the slot is read-only: the guest is to see the store as a DSI with DSISR {0:#010x}",
        "write": "it is a store: the page must be writable",
        "read": "it is no store",
        # reference and change bits
        "set-rc": "only a reference or change bit is missing",
        "host-has-rc": "the host's own entry has {0:#x} set already",
        "host-lacks-rc": "the host's own entry lacks some of {0:#x}: looking up the host's page sets them there",
        "set-rc-absent": "no leaf is there any more whose bits could be set: the page is looked up as for any fault",
        "set-rc-done": "bits {0:#x} are set in the leaf at {1:#x}",
        "set-rc-read-only": "the leaf at {0:#x} does not allow stores: it is looked up as for any fault",
        # the host's page
        "host-none": "the host has no page there: EFAULT",
        "host-not-writable": "the host's page is not writable: EFAULT",
        "host-io": "the host maps a device there: real address {0:#x}, with the attributes of its mapping",
        "host-io-zero": "the host's mapping of a device begins at real address 0, which is taken for none: EFAULT",
        "host-page": "the host's page is at real address {0:#x}",
        "leaf-small": "a leaf of one page is made",
        "leaf-2m": "a leaf of 2M is made, at {0:#x}",
        "leaf-1g": "a leaf of 1G is made, at {0:#x}",
        "host-small": "the host maps it by 2**{0} bytes, too few for a large leaf",
        "thp-overlooked": "the host's page is a transparent huge one, which this kernel does not look for",
        "misaligned": "guest real {0:#x} and host virtual {1:#x} do not lie alike in {2}M",
        "misaligned-seed": "guest real {0:#x} and host virtual {1:#x} are not in one 2M frame, as this kernel asks",
        "logging-small": "the slot's dirty pages are logged, so only leaves of one page are made",
        "grant-write": "the host's page is writable and dirty: stores are allowed at once",
        "grant-write-host": "the host's page is writable: stores are allowed at once",
        "no-write-host": "the host's page is not writable: stores will fault again",
        "no-write-slot": "the slot is read-only: the leaf allows no stores",
        "no-write": "the host's page is not both writable and dirty: stores will fault again",
        "pte": "the entry is {0:#x}",
        # kvmppc_create_pte
        "invalidated": "the host took pages away meanwhile: nothing is changed, and the guest tries again (EAGAIN)",
        "no-memory": "no table page is left for level {0}: ENOMEM",
        "new-table": "a table of level {0} is taken, at {1:#x}",
        "large-there": "a large leaf is there already ({0:#x}): nothing is changed, and the guest tries again (EAGAIN)",
        "table-there": "a table is there already, at {0:#x}, where a leaf of 2**{1} bytes is wanted (EBUSY)",
        "fall-back": "so a leaf of one page is made instead",
        "replace-table": "a table is there already, at {0:#x}: it is cleared and freed, to make room for a large leaf",
        "host-addresses": "KVM takes these leaves' own real addresses, the host's, for the guest's: tlbies and log too",
        "replace-large": "the large leaf {0:#x} is cleared first",
        "same-leaf": "the very leaf is there already",
        "add-bits": "the leaf is there already and lacks {0:#x}: these bits are set in it",
        "must-match": "they differ in {0:#x} besides, which KVM warns of: what comes of it is neither of the two",
        "replace": "the leaf {0:#x} is cleared first",
        "carry-dirty": "it was dirty: pages that go into the slot's log, from {1:#x} on: {0}",
        "dirty-nowhere": "it was dirty, and no log is kept of the slot",
        "installed": "the leaf {0:#x} is written at {1:#x}",
        "raced": "no table of level {0} was taken to replace the large leaf there: KVM takes that for a race (EAGAIN)",
        # unmapping and ageing
        "nothing-there": "no leaf is there",
        "not-present": "the entry there is {0:#x}, which is not present: nothing is done",
        "unmapped": "the leaf at {0:#x} is {1:#x} now",
        "looks-large": "what is left is not 0 and says leaf: faults there find a large leaf, and try for ever",
        "looks-large-once": "what is left is not 0 and says leaf: the next fault there clears and flushes it anew",
        "aged": "R is cleared in the leaf at {0:#x}",
        "young": "it was referenced",
        "old": "it was not referenced",
        "log-misplaced": "KVM counts longs there where it means bits: they go to bit {0:#x} of the log, not to {1:#x}",
        "log-overrun": "{0} bytes past the end of the log are written over",
        "one-page-logged": "of {0} dirty pages it puts {1} into the log",
        # the dirty log
        "log-taken": "pages in the slot's own log, which is emptied: {0}",
        "log-seen": "pages in the slot's own log: {0}",
        "leaves-cleaned": "dirty leaves, which are made clean: {0}",
        "leaves-dirty": "dirty leaves, which are left so: {0}",
        "not-logged": "no log is kept of this slot: ENOENT",
        "no-such-slot": "there is no such slot: EINVAL",
        "slot-unknown": "no slot begins there and has that size: ENOENT",
        # slots and trees
        "slot-made": "the slot at {0:#x} (+{1:#x}) is there now",
        "slot-gone": "the slot at {0:#x} (+{1:#x}) is gone",
        "slot-changed": "the slot at {0:#x} (+{1:#x}) has flags {2:#x} now",
        "slot-invalid-words": "KVM takes no such slot: {0:#x} (+{1:#x}), flags {2:#x}: EINVAL",
        "slot-overlaps": "the slot at {0:#x} (+{1:#x}) is in the way: EEXIST",
        "flushed": "leaves of the slot that are taken away: {0}",
        "freed": "tables that are freed: {0}; large leaves that are cleared: {1}",
        "no-tree": "there is no tree",
    }
)

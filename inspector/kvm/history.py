"""What KVM's second-level code did otherwise in earlier kernels, as data: one entry a difference that shows.

The seed is Linux 4.11 at commit 70cd4c10b2, 6.1 the latest that is modelled. Each :class:`Change` names the behaviour
that was there before it; :func:`old` gives those that a version still has. Commits and what they mend are those of
Linux's own history of ``arch/powerpc/kvm/book3s_64_mmu_radix.c``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from inspector.errors import UsageError

VERSIONS = ("SEED", "4.16", "4.18", "4.19", "6.1")
"""Those that can be chosen, oldest first."""
SEED, NEWEST = VERSIONS[0], VERSIONS[-1]
SHOWN = 40
"""Characters of a version that is not known."""
DEFAULT = SEED
"""The one that is meant where nobody says: a replay must not depend on what it is run over."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``old_in`` are the versions that have the old behaviour, ``slug`` its name; ``was`` says what it
    is, ``symptom`` what a user meets, ``shows`` how it is seen in a tree, a log or a list of tlbies."""

    slug: str
    old_in: tuple[str, ...]
    fixed: str
    commit: str
    title: str
    was: str
    symptom: str
    shows: str


def _until(version: str, since: str = SEED) -> tuple[str, ...]:
    """The versions from ``since`` on that come before ``version``."""
    return VERSIONS[VERSIONS.index(since) : VERSIONS.index(version)]


CHANGES: tuple[Change, ...] = (
    Change(
        slug="log-overrun",
        old_in=_until("4.16"),
        fixed="4.15",
        commit="e641a317830b",
        title="Unify dirty page map between HPT and radix",
        was="the bits of 64 pages or more of a large leaf go to the long whose number is the page's",
        symptom="memory past the slot's dirty bitmap is written over, and the pages are not in the log",
        shows="in the log, on hosts of 4K pages: ones at 64 times the page's number, none at the page's own bits",
    ),
    Change(
        slug="bits-one-by-one",
        old_in=_until("4.16"),
        fixed="4.15",
        commit="e641a317830b",
        title="Unify dirty page map between HPT and radix",
        was="the pages of a large leaf are put into the log one by one, later as whole bytes from a multiple of 8 on",
        symptom="none: the two differ where a leaf does not begin at a multiple of 8 pages of its slot",
        shows="in the log: where the bits of a large leaf begin that is asked from its middle",
    ),
    Change(
        slug="hugetlb-only",
        old_in=_until("4.16"),
        fixed="4.16",
        commit="c3856aeb2940",
        title="Fix handling of large pages in radix page fault handler",
        was="only pages of hugetlbfs are taken for large ones, and no transparent huge page",
        symptom="a guest on transparent huge pages runs by small leaves, with more faults and TLB misses",
        shows="tables of small leaves where one large leaf would do",
    ),
    Change(
        slug="whole-address-compared",
        old_in=_until("4.16"),
        fixed="4.16",
        commit="c3856aeb2940",
        title="Fix handling of large pages in radix page fault handler",
        was="a 2M leaf is made where guest real and host virtual address share their high bits, not their low ones",
        symptom="2M leaves are practically never made, and if one is, it may map the wrong half",
        shows="tables of small leaves where one large leaf would do",
    ),
    Change(
        slug="large-never-replaced",
        old_in=_until("4.16"),
        fixed="4.16",
        commit="c3856aeb2940",
        title="Fix handling of large pages in radix page fault handler",
        was="an entry that looks like a 2M leaf is never touched by a fault: EAGAIN",
        symptom="a guest that read a 2M page first can never write to it: it takes the same fault for ever",
        shows="a large leaf without write, or without PRESENT, under a guest that loops on hypervisor faults",
    ),
    Change(
        slug="write-needs-dirty",
        old_in=_until("4.16"),
        fixed="4.16",
        commit="c3856aeb2940",
        title="Fix handling of large pages in radix page fault handler",
        was="a read fault allows stores only where the host's own entry is dirty already",
        symptom="a second fault for the first store to most pages",
        shows="leaves without write over writable host pages",
    ),
    Change(
        slug="table-blocks-large",
        old_in=_until("4.18"),
        fixed="4.17",
        commit="f7caf712d885",
        title="Handle 1GB pages and replacing of page tables in radix page fault handler",
        was="a large leaf is not made where a table is already: EBUSY, and one page is mapped instead",
        symptom="a region that was once mapped by small pages stays so",
        shows="tables of small leaves where one large leaf would do",
    ),
    Change(
        slug="rc-asks-host",
        old_in=_until("4.18"),
        fixed="4.17",
        commit="c4c8a7643e74",
        title="Radix page fault handler optimizations",
        was="R and C are set where the host's own entry has them, without asking whether the leaf allows stores",
        symptom="a read-only leaf is marked dirty, or a fault for R and C alone looks the page up again",
        shows="a leaf with C and without write",
    ),
    Change(
        slug="no-1g",
        old_in=_until("4.18"),
        fixed="4.17",
        commit="58c5c276b4c2",
        title="Handle 1GB pages in radix page fault handler",
        was="leaves of 1G are not made",
        symptom="a guest on 1G pages runs by 2M leaves",
        shows="tables of 2M leaves where one 1G leaf would do",
    ),
    Change(
        slug="read-only-ignored",
        old_in=_until("4.18"),
        fixed="4.17",
        commit="31c8b0d0694a",
        title="Use __gfn_to_pfn_memslot() in page fault handler",
        was="KVM_MEM_READONLY is not looked at",
        symptom="a guest writes to memory that its VMM gave it to read",
        shows="a leaf with write in a read-only slot",
    ),
    Change(
        slug="io-by-vma",
        old_in=_until("4.18"),
        fixed="4.17",
        commit="31c8b0d0694a",
        title="Use __gfn_to_pfn_memslot() in page fault handler",
        was="a device's page is found by its VMA (VM_PFNMAP), and its leaf has the flags of that",
        symptom="pages of VM_IO mappings are not found, and a device's leaf lacks the bits of the host's own entry",
        shows="a leaf of a device without execute",
    ),
    Change(
        slug="leaf-cleared-first",
        old_in=_until("4.18"),
        fixed="4.18",
        commit="878cf2bb2d8d",
        title="Don't flush the TLB or clear a PTE when adding permission",
        was="a leaf that is there is cleared and flushed, even where only bits are to be added",
        symptom="needless tlbies, and vCPUs that fault on a page in between",
        shows="in the tlbies: one before each leaf that replaces another of the same page",
    ),
    Change(
        slug="unmap-keeps-entry",
        old_in=_until("4.18"),
        fixed="4.18",
        commit="7e3d9a1d0f2c",
        title="Make radix clear pte when unmapping",
        was="unmapping clears PRESENT alone",
        symptom="what is left of a 2M leaf is taken for one that is there: the guest loops on hypervisor faults",
        shows="entries that are not 0 and lack PRESENT, and still say leaf",
    ),
    Change(
        slug="tlbie-not-rounded",
        old_in=_until("4.18"),
        fixed="4.18",
        commit="d91cb39ffa7b",
        title="Use radix__flush_tlb_lpid_page() and its like",
        was="tlbie takes the address as the caller has it, less its low 12 bits",
        symptom="none known: the MMU takes no more of the address than the page size needs",
        shows="in the tlbies: addresses within a large page",
    ),
    Change(
        slug="one-page-logged",
        old_in=_until("4.19", since="4.16"),
        fixed="4.19",
        commit="c066fafc595e",
        title="Use correct pagesize in kvm_unmap_radix()",
        was="a dirty 2M leaf that is unmapped marks one page: a count of pages is taken for one of bytes (since 4.15)",
        symptom="the guest's memory is corrupt after a live migration",
        shows="in the log: one page where 32 (or 512) belong",
    ),
    Change(
        slug="compound-size",
        old_in=_until("4.19"),
        fixed="4.19",
        commit="71d29f43b633",
        title="Use correct pagesize in radix page fault handler: that of the host's mapping",
        was="the size of a leaf is that of the compound page behind it, whatever the host's own tables map of it",
        symptom="random corruption of the guest's memory once the host has split a huge page (balloon, THP)",
        shows="a large leaf where the host's process maps small pages",
    ),
    Change(
        slug="dd1-cleared-first",
        old_in=_until("4.19"),
        fixed="4.19",
        commit="2bf1071a8d50",
        title="Remove POWER9 DD1 support",
        was="on a POWER9 DD1 an entry that stays present is cleared and flushed before it is changed",
        symptom="none: that processor is not supported any more",
        shows="in the tlbies, on a DD1: one for each R and C that is set or cleared",
    ),
    Change(
        slug="fetch-without-reason",
        old_in=_until("6.1"),
        fixed="4.20",
        commit="32eb150aee73",
        title="Handle hypervisor instruction faults better",
        was="a fetch's fault is taken for a plain read, whatever HSRR1 says of it",
        symptom="a guest whose tables' R or C cannot be set during a fetch takes the same fault for ever",
        shows="a leaf without write over the guest's own tables, under a guest that loops on hypervisor faults",
    ),
    Change(
        slug="nonzero-is-present",
        old_in=_until("6.1"),
        fixed="4.20",
        commit="",
        title="Update pmd_present to look at _PAGE_PRESENT bit",
        was="any entry that is not 0 is taken for present where tables are freed",
        symptom="none: later kernels leave no such entries behind",
        shows="where an earlier kernel left a leaf without PRESENT, its table is freed with that in it from 4.20 on",
    ),
    Change(
        slug="large-while-logging",
        old_in=_until("6.1"),
        fixed="5.0",
        commit="",
        title="Map single pages when doing dirty page logging",
        was="large leaves are made in slots whose dirty pages are logged",
        symptom="one store makes 32 (or 512) pages dirty: a live migration sends far more than was written",
        shows="a large leaf in a slot with KVM_MEM_LOG_DIRTY_PAGES",
    ),
    Change(
        slug="logging-does-not-flush",
        old_in=_until("6.1"),
        fixed="5.0",
        commit="5af3e9d06d83",
        title="Flush guest mappings when turning dirty tracking on/off",
        was="turning the log on or off leaves the slot's leaves as they are",
        symptom="large leaves from before go on to be logged as a whole",
        shows="a large leaf in a slot with KVM_MEM_LOG_DIRTY_PAGES",
    ),
    Change(
        slug="large-pages-in-log",
        old_in=_until("6.1"),
        fixed="5.8",
        commit="bf8036a4098d",
        title="Walk the second-level tree without a lock for the dirty log",
        was="a large dirty leaf gives the log all its pages; later ones find none in a slot that is logged",
        symptom="none: the log is coarser",
        shows="in the log: 32 (or 512) pages of one leaf",
    ),
)
BY_SLUG: Mapping[str, Change] = MappingProxyType({each.slug: each for each in CHANGES})


def old(version: str) -> frozenset[str]:
    """The slugs of all that ``version`` still does in the old way. Raises UsageError for one that is not known."""
    if version not in VERSIONS:
        raise UsageError(unknown(version))
    return frozenset(each.slug for each in CHANGES if version in each.old_in)


def unknown(version: str) -> str:
    """What is said of a version that is none of VERSIONS: which comes nearest, and which there are."""
    near = nearest(version)
    does = "" if near is None else f"{near[0]} does {'the same' if near[1] else 'most as it does'}, and "
    return f"{version[:SHOWN]!r} is no version whose behaviour is known; {does}there are: {', '.join(VERSIONS)}"


FIRST = (4, 11)
"""The seed's release: nothing is known here of those before it."""
RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})(?:[.+~_-][\w.+~-]*)?", re.ASCII)
"""A kernel's release: two numbers, and what a dot or the like may add to them."""


def number_of(release: str) -> tuple[int, int] | None:
    """The first two numbers of a release, such as ``6.1.0-50-powerpc64le``; None of what is no release."""
    found = RELEASE.fullmatch(release)
    return None if found is None else (int(found[1]), int(found[2]))


def nearest(release: str) -> tuple[str, bool] | None:
    """The version that does most as the kernel of this release (``6.1.0-50-powerpc64le``) does, by its number alone,
    and whether it does all as that does; None of a release that says no number, or one before the seed's. Of two that
    are as near it is the later one. What a distribution took over from later kernels, no number tells."""
    number = number_of(release)
    if number is None or number < FIRST:
        return None
    late = {each.slug for each in CHANGES if number < _number(each.fixed)}
    missed = {version: len({each.slug for each in CHANGES if _before(version, each)} ^ late) for version in VERSIONS}
    best = min(reversed(VERSIONS), key=missed.__getitem__)
    return best, not missed[best]


def _number(version: str) -> tuple[int, int]:
    if version == SEED:
        return FIRST
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _before(version: str, change: Change) -> bool:
    """Whether this version is from before the change."""
    return _number(version) < _number(change.fixed)

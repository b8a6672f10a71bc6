"""The rules of an audit, as data.

``off`` marks what healthy Linux does every day: true, sometimes worth knowing, and asked for by name or by severity.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from inspector.errors import UsageError
from inspector.mappings.audit.finding import RANK, Severity

PTE = "Power ISA 3.0B book III 5.7.10"
TABLES = "Power ISA 3.0B book III 5.7.6"
RADIX_H = "Linux 6.1 asm/book3s/64/radix.h"
PGTABLE_H = "Linux 6.1 asm/book3s/64/pgtable.h"
QEMU = "QEMU 7.2 target/ppc/mmu-radix64.c"
KVM = "Linux 6.1 arch/powerpc/kvm/book3s_64_mmu_radix.c"
LINUX_MM = "Linux 6.1 arch/powerpc/mm/book3s64/radix_pgtable.c"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked for. ``title`` says what is wrong, ``means`` what follows from it; ``source`` where that is from.
    ``default`` is whether it is asked where nothing is said."""

    slug: str
    severity: Severity
    title: str
    means: str
    source: str
    default: bool = True

    @property
    def explanation(self) -> str:
        """Both, as one sentence."""
        return f"{self.title}: {self.means}"


_ALL: tuple[Rule, ...] = (
    # -- errors: mappings ----------------------------------------------------------------------------------------------
    Rule(
        "wx-mapping",
        "error",
        "privileged code may both write and execute this",
        "whatever writes here chooses what the kernel runs",
        f"{PTE}; Linux STRICT_KERNEL_RWX",
    ),
    Rule(
        "kernel-user",
        "error",
        "user mode may use this mapping of the kernel's half",
        "the kernel's tree is everyone's in quadrant 3, and only the privileged bit keeps user mode out",
        f"{PTE}; {QEMU}",
    ),
    Rule(
        "kernel-text-user",
        "error",
        "user mode maps the kernel's code",
        "a process reads it, or changes it where the mapping is writable",
        f"{PTE}; vmlinux _stext and _etext where known, else what privileged code may execute",
    ),
    Rule(
        "kernel-text-writable",
        "error",
        "the linear map has the kernel's code writable",
        "any stray store of the kernel's can change its code",
        f"vmlinux _stext and _etext; {LINUX_MM} radix__mark_rodata_ro",
    ),
    Rule(
        "tables-user",
        "error",
        "user mode maps tables of the MMU",
        "a process sees, or chooses, where addresses go",
        f"{TABLES}",
    ),
    Rule(
        "tables-guest",
        "error",
        "a KVM guest's memory holds tables of the host's MMU",
        "the guest sees, or chooses, what memory of the host's it has",
        f"{TABLES}; {KVM} kvmppc_book3s_instantiate_page",
    ),
    Rule(
        "normal-outside-ram",
        "error",
        "this is mapped as normal memory, and not all of it is RAM",
        "a cached access to a device or to nothing ends in a machine check",
        f"{PTE}; the machine's RAM map",
    ),
    Rule(
        "stray-rpn",
        "error",
        "real page number bits below the page size are set",
        "the MMU drops them, and KVM's software walk refuses the address",
        f"{QEMU}; {KVM} kvmppc_mmu_walk_radix_tree",
    ),
    Rule(
        "leaf-512g",
        "error",
        "a leaf stands in the root table",
        "POWER9 and POWER10 have no pages of 512 GiB: QEMU takes it, and KVM's software walk refuses it",
        f"{QEMU}; {KVM} kvmppc_mmu_walk_radix_tree",
    ),
    # -- errors: trees -------------------------------------------------------------------------------------------------
    Rule(
        "tree-size",
        "error",
        "the tree's size (RTS) is not 52 bits",
        "the processors refuse the whole tree as a bad configuration",
        f"{TABLES}; {QEMU}; {KVM}",
    ),
    Rule(
        "root-size",
        "error",
        "the root table's size (RPDS) is not 2^13 entries",
        "the processors refuse the whole tree as a bad configuration",
        f"{TABLES}; {QEMU}; {KVM}",
    ),
    Rule(
        "table-size",
        "error",
        "a next table's size (NLS) is not one of this level's",
        "the processors refuse all that lies below as a bad configuration",
        f"{PTE}; {QEMU}; {KVM}",
    ),
    Rule(
        "misaligned-base",
        "error",
        "a table's base is not aligned to its size",
        "the MMU drops its low bits, and KVM's software walk refuses it",
        f"{QEMU}; {KVM}",
    ),
    Rule(
        "no-leaf",
        "error",
        "a directory stands in a last-level table",
        "its addresses fault as a bad configuration",
        f"{QEMU}; {KVM}",
    ),
    Rule(
        "cycle",
        "error",
        "a table is reached again from below itself",
        "what lies there is taken for entries of two levels",
        PTE,
    ),
    Rule(
        "shared-levels",
        "error",
        "a table serves at two levels",
        "its leaves are pages of two sizes, or its directories are read as leaves",
        PTE,
    ),
    Rule(
        "table-outside-ram",
        "error",
        "a table lies outside RAM",
        "a walk there reads a device or nothing",
        "the machine's RAM map",
    ),
    Rule(
        "overlapping-tables",
        "error",
        "two tables overlap in memory",
        "what is written to one changes the other",
        "real addresses and sizes of the tables",
    ),
    Rule(
        "same-root",
        "error",
        "several PIDs have one and the same tree",
        "they are one address space under two names, which translations are cached by",
        f"{TABLES}; Linux 6.1 arch/powerpc/mm/book3s64/mmu_context.c radix__init_new_context",
    ),
    Rule(
        "shared-table",
        "error",
        "trees of several PIDs share a table",
        "what one process maps there appears in the other; Linux shares no radix table",
        LINUX_MM,
    ),
    Rule(
        "reserved-directory",
        "error",
        "reserved bits of a directory entry are set",
        "Linux takes such an entry for a bad one, and clears it",
        f"{PTE}; {RADIX_H} RADIX_PMD_BAD_BITS",
    ),
    # -- errors: the process table -------------------------------------------------------------------------------------
    Rule(
        "process-table-size",
        "error",
        "the process table's size field (PRTS) is above 24",
        "KVM, QEMU and the hypercall that registers it refuse that",
        f"{KVM}; QEMU 7.2 hw/ppc/spapr_hcall.c h_register_process_table",
    ),
    Rule(
        "process-table-misaligned",
        "error",
        "the process table is not aligned to its size",
        "the MMU refuses it as a bad configuration",
        f"{QEMU}",
    ),
    Rule(
        "process-table-outside-ram",
        "error",
        "part of the process table lies outside RAM",
        "the PIDs there have no entry",
        "the machine's RAM map",
    ),
    # -- warnings ------------------------------------------------------------------------------------------------------
    Rule(
        "wx-user",
        "warning",
        "user mode may both write and execute this",
        "a program that compiles at run time asks for it, and so does an attack",
        PTE,
    ),
    Rule(
        "wx-alias",
        "warning",
        "what is executed here is writable by another mapping",
        "code can be changed without the right to write to it here",
        f"{PTE}, by real address; the kernel's linear map has a rule of its own",
    ),
    Rule(
        "tables-alias",
        "warning",
        "tables of the MMU are writable by more than the linear map",
        "a store that means other memory can change translations",
        f"{TABLES}; Linux reaches its tables by the linear map alone",
    ),
    Rule(
        "io-on-ram",
        "warning",
        "this is mapped as I/O, and is RAM",
        "it disagrees with cached mappings of the same memory, unless it is a device's own, such as a frame buffer",
        f"{PTE}; the machine's RAM map",
    ),
    Rule(
        "executable-io",
        "warning",
        "an I/O mapping has the right to execute",
        "the MMU never executes from non-idempotent memory, and KVM's software walk says that it may",
        f"{PTE}; {QEMU}; {KVM}",
    ),
    Rule(
        "reserved-leaf",
        "warning",
        "reserved bits of a leaf are set",
        "today's MMUs ignore them, and nothing of Linux's sets them",
        f"{PTE}; {PGTABLE_H}",
    ),
    Rule(
        "changed-unreferenced",
        "warning",
        "a page of the kernel's is changed (C) and not referenced (R)",
        "the MMU sets both with the first store, and Linux ages no page of its own half",
        f"{PTE}; {PGTABLE_H} PAGE_KERNEL",
    ),
    Rule(
        "shared-within",
        "warning",
        "a table stands at several places of one tree",
        "its pages appear at each of them",
        LINUX_MM,
    ),
    Rule(
        "process-entry-reserved",
        "warning",
        "reserved bits of a process-table entry are set",
        "today's MMUs ignore them; with radix the second doubleword is reserved whole",
        f"{TABLES}; Linux 6.1 asm/book3s/64/mmu.h",
    ),
    Rule(
        "table-unread",
        "warning",
        "a table could not be read",
        "what lies below it was not audited",
        "the target",
    ),
    Rule(
        "too-large",
        "warning",
        "a tree is larger than is looked at",
        "the rest was not audited",
        "the bounds of a sweep",
    ),
    Rule(
        "process-table-unread",
        "warning",
        "part of the process table could not be read",
        "the processes there were not audited",
        "the target",
    ),
    # -- infos ---------------------------------------------------------------------------------------------------------
    Rule(
        "aged",
        "info",
        "a page of a process or of a KVM guest is changed (C) and not referenced (R)",
        "the MMU leaves no page so: software cleared R alone, as Linux's ageing does",
        f"{PTE}; {PGTABLE_H} radix__ptep_test_and_clear_young",
    ),
    Rule(
        "privileged-in-user-half",
        "info",
        "a mapping of a process is for privileged code only",
        "the kernel uses it by a user address, as Linux from 6.2 does while it patches code",
        f"{PTE}; Linux 6.2 arch/powerpc/lib/code-patching.c",
    ),
    Rule(
        "host-page-shared",
        "info",
        "several KVM guests have the same page of the host's",
        "what one writes there the other sees, as with memory that their monitors share; pages that the host merged "
        "are read-only",
        f"{KVM} kvmppc_book3s_instantiate_page; by the partition-scoped trees that are looked at",
        default=False,
    ),
    Rule(
        "wx-alias-linear",
        "info",
        "what is executed here is writable by the kernel's linear map",
        "the kernel can write to it, as Linux can to all memory but its own code and constants",
        f"{LINUX_MM} create_physical_mapping",
        default=False,
    ),
    Rule(
        "changed-read-only",
        "info",
        "a page is changed (C) and may not be written",
        "software set C, or took the right to write away after a store",
        f"{PTE}; {PGTABLE_H} PAGE_KERNEL_ROX",
        default=False,
    ),
    Rule(
        "unreferenced",
        "info",
        "a page is mapped, and neither referenced (R) nor changed (C)",
        "it was never used, or its R was cleared to see whether it is",
        f"{PTE}; {PGTABLE_H}",
        default=False,
    ),
    Rule(
        "no-rights",
        "info",
        "a leaf is valid and allows nothing",
        "every access faults, as PROT_NONE and Linux's NUMA hints want it",
        f"{PGTABLE_H} PAGE_NONE, pte_protnone",
        default=False,
    ),
    Rule(
        "invalid-entry",
        "info",
        "entries are not valid and not empty",
        "the MMU looks no further than V, and Linux keeps swap and migration entries there",
        f"{PGTABLE_H} __swp_entry; {RADIX_H} RADIX_PTE_NONE_MASK",
        default=False,
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.slug: rule for rule in _ALL})
"""Every rule by its slug, the gravest first."""


def rule_named(slug: str) -> Rule:
    """The rule of this name. Raises UsageError, with the nearest ones."""
    found = RULES.get(slug.strip().lower())
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(slug, RULES, n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "'audit --rules' lists them"
        raise UsageError(f"there is no rule {slug!r}; {hint}")
    return found


def chosen(
    names: Collection[str] = (), without: Collection[str] = (), severity: Severity | None = None
) -> tuple[str, ...]:
    """The rules that are asked, in their order: those named, and all of this severity and graver ones; where neither is
    said, those that are on by default. Those named in ``without`` are left out. Raises UsageError."""
    asked = {rule_named(name).slug for name in names}
    if severity is not None:
        asked |= {slug for slug, rule in RULES.items() if RANK[rule.severity] >= RANK[severity]}
    elif not names:
        asked = {slug for slug, rule in RULES.items() if rule.default}
    asked -= {rule_named(name).slug for name in without}
    return tuple(slug for slug in RULES if slug in asked)

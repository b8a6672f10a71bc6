"""The guests there are, as data."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.initramfs import READY

RNG = ("-device", "virtio-rng-pci")
BALLOON = ("-device", "virtio-balloon-pci")
DISK = ("-drive", "file={directory}/disk,if=none,id=disk,format=raw", "-device", "virtio-blk-pci,drive=disk")
POWERNV_RNG = (
    *("-device", "pnv-phb,chip-id=0,index=0,id=phb"),
    *("-device", "pnv-phb-root-port,bus=phb,id=slot0"),
    *("-device", "virtio-rng-pci,bus=slot0"),
)
RADIX_PAGES = (0x0000_000C, 0xA000_0010, 0x2000_0015, 0x4000_001E)
"""4K, 64K, 2M and 1G pages with their AP encodings: log2 of the size, and the encoding shifted left by 29 (QEMU 7.2,
``POWER9_radix_page_info``)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of guest. ``ready`` is a pattern of its console once it can be asked; ``append`` goes
    to its kernel; a guest that is not Linux has no shell. With ``paused`` it never runs by itself, and
    with ``stop_when_ready`` it is stopped as soon as it is ready. ``{directory}`` in a word of
    ``devices`` is the machine's own folder."""

    name: str
    what: str
    machine: str
    cpu: str
    ready: bytes = READY.encode()
    linux: bool = True
    append: str = ""
    devices: tuple[str, ...] = ()
    paused: bool = False
    stop_when_ready: bool = False
    memory_mib: int = 1024
    cpus: int = 2
    emulator: str = "qemu-system-ppc64"
    modules: tuple[str, ...] = ()
    """Kernel modules to load at boot beside those that every guest loads."""
    page_sizes: tuple[int, ...] = ()
    """What its device tree is to say of the radix MMU's page sizes, as ``ibm,processor-radix-AP-encodings`` has it;
    QEMU 7.2 says nothing for powernv, and Linux then uses 4K and 64K pages alone."""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("pseries-p9", "Linux under PAPR, radix MMU", "pseries", "POWER9", devices=(*RNG, *BALLOON, *DISK)),
        Kind(
            "pseries-p10",
            "Linux under PAPR, radix MMU, on POWER10",
            "pseries",
            "POWER10",
            devices=(*RNG, *BALLOON, *DISK),
        ),
        Kind("pseries-hash", "Linux under PAPR, hash MMU", "pseries", "POWER9", append="disable_radix"),
        Kind("powernv9", "Linux on the bare machine (MSR[HV] set)", "powernv9", "POWER9", devices=POWERNV_RNG),
        Kind(
            "powernv9-kvm",
            "the bare machine as a KVM host: kvm-hv loaded, and a monitor for guests of its own",
            "powernv9",
            "POWER9",
            modules=("kvm-hv",),
            page_sizes=RADIX_PAGES,
            memory_mib=2048,
        ),
        Kind(
            "pseries-firmware",
            "stopped in the firmware before any kernel: big-endian, MMU off",
            "pseries",
            "POWER9",
            ready=rb"\n0 > ",
            linux=False,
            stop_when_ready=True,
        ),
        Kind("pseries-reset", "before its first instruction", "pseries", "POWER9", linux=False, paused=True),
        Kind(
            "ppc32",
            "a guest of another architecture: 32-bit PowerPC",
            "g3beige",
            "750",
            linux=False,
            paused=True,
            memory_mib=128,
            cpus=1,
            emulator="qemu-system-ppc",
        ),
    )
}

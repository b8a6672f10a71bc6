"""Every error the inspector raises, on one page.

Each is one sentence that ends with a way out, carries its data as attributes, and knows the exit
status that a command line gives it: 1 answered with a fault, 2 the words were wrong, 3 the target
could not be reached or read.

    InspectorError
      UsageError                 the words were wrong
        ExpressionError            an operand that does not parse
        UnknownRegister            a register whose value this target does not know
        UnknownSymbol
      TargetError                the target could not be reached or read
        ToolMissing                a program this needs is not installed
        ConnectError               nothing answers there, or it is busy
        ProtocolError              something answers, but it is not what it should be
        WrongArchitecture          a stub or a file, but not of a ppc64 guest
        ReplyTimeout               no answer within the limit
        TargetLost                 it was there, and is gone
        FormatError                a file that is not what its name or its header says
        RecordError                a file that could not be written
        NotSupported               this target has no such thing (a snapshot cannot run)
      MemoryReadError            an address that cannot be read, and why
        NotRam                     the RAM map does not hold it; it was not asked for
        NotCaptured                RAM, but this snapshot does not hold it
        Unreadable                 RAM, asked for, and refused
      NoMemory                   the answer does not fit in the memory that is free here
"""

from __future__ import annotations


class InspectorError(Exception):
    """The root: one sentence with a way out."""

    exit_status = 3


class UsageError(InspectorError):
    """The words were wrong."""

    exit_status = 2


class ExpressionError(UsageError):
    """An operand that does not parse. ``position`` is the offset in ``text`` where it went wrong."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.text = text
        self.position = position
        self.problem = problem
        super().__init__(f"cannot read {text!r}: {problem}")


class UnknownRegister(UsageError):
    """A register that this target does not have, or whose value it does not know."""

    def __init__(self, name: str, cpu: int, known: bool) -> None:
        self.name = name
        self.cpu = cpu
        self.known = known
        if known:
            text = f"the value of {name} on vCPU {cpu} is not known to this target; give it with --set {name}=VALUE"
            if name == "pid":
                text += ", or name a process with --pid N ('pids' lists them)"
        else:
            text = f"there is no register {name!r}; 'regs' lists those there are"
        super().__init__(text)


class UnknownSymbol(UsageError):
    """A symbol that the kernel image does not hold, or no image was given."""

    def __init__(self, name: str, image: str | None) -> None:
        self.name = name
        self.image = image
        if image is None:
            text = (
                f"{name!r} is neither a number nor a register; give the kernel image with --vmlinux FILE to use symbols"
            )
        else:
            text = f"there is no symbol {name!r} in {image}; 'help operands' says what an operand may be"
        super().__init__(text)


class TargetError(InspectorError):
    """The target could not be reached or read."""


class ToolMissing(TargetError):
    """A program this needs is not installed. ``install`` is the line that installs it."""

    def __init__(self, tool: str, install: str) -> None:
        self.tool = tool
        self.install = install
        super().__init__(f"{tool} is not installed; install it with: {install}")


class ConnectError(TargetError):
    """Nothing answers there, or what answers is busy with another client."""


class ProtocolError(TargetError):
    """Something answers, but not as a QEMU gdbstub or a gdb would."""


class WrongArchitecture(TargetError):
    """A stub or a file, but not of a ppc64 guest. ``found`` says of what."""

    def __init__(self, where: str, found: str) -> None:
        self.where = where
        self.found = found
        super().__init__(f"{where} is of {found}, and this looks into 64-bit PowerPC guests only; give another target")


class ReplyTimeout(TargetError):
    """No answer within the limit."""


class TargetLost(TargetError):
    """It was there, and is gone."""


class FormatError(TargetError):
    """A file that is not what its name or its header says."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class RecordError(TargetError):
    """A file that could not be written; nothing of it was left behind."""


class NotSupported(TargetError):
    """This target has no such thing."""


class MemoryReadError(InspectorError):
    """``length`` bytes at real address ``address`` cannot be read."""

    exit_status = 1
    slug = "unreadable"

    def __init__(self, address: int, length: int, why: str) -> None:
        self.address = address
        self.length = length
        self.why = why
        super().__init__(f"real address {address:#x} (+{length:#x}) was not read: {why}")


class NotRam(MemoryReadError):
    """The RAM map does not hold it, so it was not asked for: it may be a device."""

    slug = "not-ram"

    def __init__(self, address: int, length: int) -> None:
        super().__init__(address, length, "it is not in the guest's RAM; 'ram' lists what is")


class NotCaptured(MemoryReadError):
    """RAM, but this snapshot does not hold it."""

    slug = "not-captured"

    def __init__(self, address: int, length: int) -> None:
        super().__init__(
            address, length, "it is RAM that this snapshot did not capture; record with --also or --everything"
        )


class NotBacked(MemoryReadError):
    """Guest real memory that the host has nothing behind."""

    slug = "not-backed"

    def __init__(self, address: int, length: int) -> None:
        super().__init__(
            address, length, "the host has nothing behind this guest real address; 'maps --partition' lists what it has"
        )


class BehindUnread(MemoryReadError):
    """Guest real memory, and the host's own table that leads there could not be read: it may have something behind."""

    slug = "unreadable"

    def __init__(self, address: int, length: int) -> None:
        super().__init__(
            address,
            length,
            "what the host has behind this guest real address is not known, for its own table there could not be read; "
            "'maps --partition' tells why",
        )


class Unreadable(MemoryReadError):
    """RAM, asked for, and the source refused or failed."""

    slug = "unreadable"


class NoMemory(InspectorError):
    """The answer does not fit in the memory that is free here."""

    def __init__(self) -> None:
        super().__init__(
            "there is not enough memory here for all that was asked; ask for less of it: one process (--pid N), or "
            "ranges and not leaves"
        )

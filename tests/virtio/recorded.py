# ruff: noqa: E501
"""What QEMU 7.2's monitor printed of a pseries guest with virtio devices, shortened: a block device, a balloon, and a
block device behind the IOMMU that is called "behind"."""

from __future__ import annotations

BLOCK = "/machine/peripheral-anon/device[2]/virtio-backend"
BALLOON = "/machine/peripheral-anon/device[1]/virtio-backend"
BEHIND = "/machine/peripheral/behind/virtio-backend"

LISTED = """\
/machine/peripheral/behind/virtio-backend [virtio-blk]
/machine/peripheral-anon/device[2]/virtio-backend [virtio-blk]
/machine/peripheral-anon/device[1]/virtio-backend [virtio-balloon]
"""

STATUS_BLK = """\
/machine/peripheral-anon/device[2]/virtio-backend:
  device_name:             virtio-blk
  device_id:               2
  vhost_started:           false
  bus_name:                (null)
  broken:                  false
  disabled:                false
  disable_legacy_check:    false
  started:                 true
  use_started:             true
  start_on_kick:           false
  use_guest_notifier_mask: true
  vm_running:              true
  num_vqs:                 2
  queue_sel:               1
  isr:                     1
  endianness:              little
  status:
	VIRTIO_CONFIG_S_ACKNOWLEDGE: Valid virtio device found,
	VIRTIO_CONFIG_S_DRIVER: Guest OS compatible with device,
	VIRTIO_CONFIG_S_FEATURES_OK: Feature negotiation complete,
	VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready
  Guest features:
	VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled,
	VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported,
	VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)
	VIRTIO_BLK_F_CONFIG_WCE: Cache writeback and writethrough modes supported,
	VIRTIO_BLK_F_FLUSH: Flush command supported,
	VIRTIO_BLK_F_WRITE_ZEROES: Write zeroes command supported,
	VIRTIO_BLK_F_DISCARD: Discard command supported,
	VIRTIO_BLK_F_MQ: Multiqueue supported,
	VIRTIO_BLK_F_TOPOLOGY: Topology information available,
	VIRTIO_BLK_F_BLK_SIZE: Block size of disk available,
	VIRTIO_BLK_F_GEOMETRY: Legacy geometry available,
	VIRTIO_BLK_F_SEG_MAX: Max segments in a request is seg_max
  unknown-features(0x0000010000000000)
  Host features:
	VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled,
	VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported,
	VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy),
	VIRTIO_F_ANY_LAYOUT: Device accepts arbitrary desc. layouts,
	VIRTIO_F_NOTIFY_ON_EMPTY: Notify when device runs out of avail. descs. on VQ
	VHOST_USER_F_PROTOCOL_FEATURES: Vhost-user protocol features negotiation supported,
	VIRTIO_BLK_F_CONFIG_WCE: Cache writeback and writethrough modes supported,
	VIRTIO_BLK_F_FLUSH: Flush command supported,
	VIRTIO_BLK_F_WRITE_ZEROES: Write zeroes command supported,
	VIRTIO_BLK_F_DISCARD: Discard command supported,
	VIRTIO_BLK_F_MQ: Multiqueue supported,
	VIRTIO_BLK_F_TOPOLOGY: Topology information available,
	VIRTIO_BLK_F_BLK_SIZE: Block size of disk available,
	VIRTIO_BLK_F_GEOMETRY: Legacy geometry available,
	VIRTIO_BLK_F_SEG_MAX: Max segments in a request is seg_max
  unknown-features(0x0000010000000000)
  Backend features:
"""

STATUS_BALLOON = """\
/machine/peripheral-anon/device[1]/virtio-backend:
  device_name:             virtio-balloon
  device_id:               5
  vhost_started:           false
  bus_name:                (null)
  broken:                  false
  disabled:                false
  disable_legacy_check:    false
  started:                 true
  use_started:             true
  start_on_kick:           false
  use_guest_notifier_mask: true
  vm_running:              true
  num_vqs:                 3
  queue_sel:               2
  isr:                     0
  endianness:              little
  status:
	VIRTIO_CONFIG_S_ACKNOWLEDGE: Valid virtio device found,
	VIRTIO_CONFIG_S_DRIVER: Guest OS compatible with device,
	VIRTIO_CONFIG_S_FEATURES_OK: Feature negotiation complete,
	VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready
  Guest features:
	VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled,
	VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported,
	VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)
	VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available
  unknown-features(0x0000010000000000)
  Host features:
	VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled,
	VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported,
	VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy),
	VIRTIO_F_ANY_LAYOUT: Device accepts arbitrary desc. layouts,
	VIRTIO_F_NOTIFY_ON_EMPTY: Notify when device runs out of avail. descs. on VQ
	VIRTIO_BALLOON_F_PAGE_POISON: Guest page poisoning enabled,
	VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available
  unknown-features(0x0000010040000000)
  Backend features:
"""

STATUS_BEHIND = """\
/machine/peripheral/behind/virtio-backend:
  device_name:             virtio-blk
  device_id:               2
  vhost_started:           false
  bus_name:                (null)
  broken:                  false
  disabled:                false
  disable_legacy_check:    false
  started:                 true
  use_started:             true
  start_on_kick:           false
  use_guest_notifier_mask: true
  vm_running:              true
  num_vqs:                 2
  queue_sel:               1
  isr:                     1
  endianness:              little
  status:
	VIRTIO_CONFIG_S_ACKNOWLEDGE: Valid virtio device found,
	VIRTIO_CONFIG_S_DRIVER: Guest OS compatible with device,
	VIRTIO_CONFIG_S_FEATURES_OK: Feature negotiation complete,
	VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready
  Guest features:
	VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled,
	VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported,
	VIRTIO_F_IOMMU_PLATFORM: Device can be used on IOMMU platform,
	VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)
	VIRTIO_BLK_F_CONFIG_WCE: Cache writeback and writethrough modes supported,
	VIRTIO_BLK_F_FLUSH: Flush command supported,
	VIRTIO_BLK_F_WRITE_ZEROES: Write zeroes command supported,
	VIRTIO_BLK_F_DISCARD: Discard command supported,
	VIRTIO_BLK_F_MQ: Multiqueue supported,
	VIRTIO_BLK_F_TOPOLOGY: Topology information available,
	VIRTIO_BLK_F_BLK_SIZE: Block size of disk available,
	VIRTIO_BLK_F_GEOMETRY: Legacy geometry available,
	VIRTIO_BLK_F_SEG_MAX: Max segments in a request is seg_max
  unknown-features(0x0000010000000000)
  Host features:
	VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled,
	VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported,
	VIRTIO_F_IOMMU_PLATFORM: Device can be used on IOMMU platform,
	VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy),
	VIRTIO_F_ANY_LAYOUT: Device accepts arbitrary desc. layouts,
	VIRTIO_F_NOTIFY_ON_EMPTY: Notify when device runs out of avail. descs. on VQ
	VHOST_USER_F_PROTOCOL_FEATURES: Vhost-user protocol features negotiation supported,
	VIRTIO_BLK_F_CONFIG_WCE: Cache writeback and writethrough modes supported,
	VIRTIO_BLK_F_FLUSH: Flush command supported,
	VIRTIO_BLK_F_WRITE_ZEROES: Write zeroes command supported,
	VIRTIO_BLK_F_DISCARD: Discard command supported,
	VIRTIO_BLK_F_MQ: Multiqueue supported,
	VIRTIO_BLK_F_TOPOLOGY: Topology information available,
	VIRTIO_BLK_F_BLK_SIZE: Block size of disk available,
	VIRTIO_BLK_F_GEOMETRY: Legacy geometry available,
	VIRTIO_BLK_F_SEG_MAX: Max segments in a request is seg_max
  unknown-features(0x0000010000000000)
  Backend features:
"""

QUEUE_BLK = """\
/machine/peripheral-anon/device[2]/virtio-backend:
  device_name:          virtio-blk
  queue_index:          1
  inuse:                0
  used_idx:             1
  signalled_used:       1
  signalled_used_valid: true
  last_avail_idx:       1
  shadow_avail_idx:     1
  VRing:
    num:          256
    num_default:  256
    align:        4096
    desc:         0x0000000002220000
    avail:        0x0000000002221000
    used:         0x0000000002221280
"""

QUEUE_BALLOON = """\
/machine/peripheral-anon/device[1]/virtio-backend:
  device_name:          virtio-balloon
  queue_index:          2
  inuse:                1
  used_idx:             0
  signalled_used:       0
  signalled_used_valid: false
  last_avail_idx:       1
  shadow_avail_idx:     1
  VRing:
    num:          128
    num_default:  128
    align:        4096
    desc:         0x00000000023b0000
    avail:        0x00000000023b0800
    used:         0x00000000023b0980
"""

QUEUE_BEHIND = """\
/machine/peripheral/behind/virtio-backend:
  device_name:          virtio-blk
  queue_index:          1
  inuse:                0
  used_idx:             1
  signalled_used:       1
  signalled_used_valid: true
  last_avail_idx:       1
  shadow_avail_idx:     1
  VRing:
    num:          256
    num_default:  256
    align:        4096
    desc:         0x08000000021e0000
    avail:        0x08000000021e1000
    used:         0x08000000021e1280
"""

PCI = """\
  Bus  0, device   1, function 0:
    Class 0255: PCI device 1af4:1002
      PCI subsystem 1af4:0005
      IRQ 0, pin A
      BAR0: I/O at 0x0040 [0x007f].
      BAR4: 64 bit prefetchable memory at 0x210000010000 [0x210000013fff].
      id ""
  Bus  0, device   2, function 0:
    SCSI controller: PCI device 1af4:1001
      PCI subsystem 1af4:0002
      IRQ 0, pin A
      BAR0: I/O at 0x0080 [0x00ff].
      BAR1: 32 bit memory at 0x80010000 [0x80010fff].
      BAR4: 64 bit prefetchable memory at 0x210000020000 [0x210000023fff].
      id ""
  Bus  0, device   5, function 0:
    SCSI controller: PCI device 1af4:1042
      PCI subsystem 1af4:1100
      IRQ 0, pin A
      BAR1: 32 bit memory at 0x80040000 [0x80040fff].
      BAR4: 64 bit prefetchable memory at 0x210000050000 [0x210000053fff].
      id "behind"
"""

TREE = """\
address-space: cpu-memory-0
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-000000003fffffff (prio 0, ram): ram
    0000200000000000-000020000000ffff (prio 0, i/o): alias pci@800000020000000.io-alias @pci@800000020000000.io 0000000000000000-000000000000ffff
    0000200080000000-00002000ffffffff (prio 0, i/o): alias pci@800000020000000.mmio32-alias @pci@800000020000000.mmio 0000000080000000-00000000ffffffff
    0000210000000000-000021ffffffffff (prio 0, i/o): alias pci@800000020000000.mmio64-alias @pci@800000020000000.mmio 0000210000000000-000021ffffffffff
    0006010000000000-000601003fffffff (prio 0, i/o): xive.esb
      0006010000000000-000601003fffffff (prio 0, i/o): xive.esb-emulated
    0006030203180000-00060302031bffff (prio 0, i/o): xive.tima

address-space: virtio-blk-pci
  0000000000000000-ffffffffffffffff (prio 0, i/o): bus master container
"""

FLAT = """\
FlatView #0
 AS "pci@800000020000000", root: pci@800000020000000.iommu-root
 AS "virtio-rng-pci", root: bus master container
 AS "virtio-balloon-pci", root: bus master container
 AS "virtio-blk-pci", root: bus master container
 AS "virtio-net-pci", root: bus master container
 AS "virtio-serial-pci", root: bus master container
 AS "virtio-blk-pci", root: bus master container
 AS "virtio-rng-pci", root: bus master container
  0000000000000000-000000003fffffff (prio 0, i/o): tce-iommu-80000000
  0800000000000000-080000003fffffff (prio 0, i/o): tce-iommu-80000001

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 AS "cpu-memory-1", root: system
  0000000000000000-000000003fffffff (prio 0, ram): ram
  0000200000000020-000020000000003f (prio 1, i/o): virtio-pci
  0000200000000040-000020000000007f (prio 1, i/o): virtio-pci
  0000200000000080-00002000000000ff (prio 1, i/o): virtio-pci
  0000200080010000-000020008001002f (prio 0, i/o): msix-table
  0000200080010800-0000200080010807 (prio 0, i/o): msix-pba
  0000200080040000-000020008004002f (prio 0, i/o): msix-table
  0000200080040800-0000200080040807 (prio 0, i/o): msix-pba
  0000200080050000-000020008005001f (prio 0, i/o): msix-table
  0000200080050800-0000200080050807 (prio 0, i/o): msix-pba
  0000210000010000-0000210000010fff (prio 0, i/o): virtio-pci-common-virtio-balloon
  0000210000011000-0000210000011fff (prio 0, i/o): virtio-pci-isr-virtio-balloon
  0000210000012000-0000210000012fff (prio 0, i/o): virtio-pci-device-virtio-balloon
  0000210000013000-0000210000013fff (prio 0, i/o): virtio-pci-notify-virtio-balloon
  0000210000020000-0000210000020fff (prio 0, i/o): virtio-pci-common-virtio-blk
  0000210000021000-0000210000021fff (prio 0, i/o): virtio-pci-isr-virtio-blk
  0000210000022000-0000210000022fff (prio 0, i/o): virtio-pci-device-virtio-blk
  0000210000023000-0000210000023fff (prio 0, i/o): virtio-pci-notify-virtio-blk
  0000210000050000-0000210000050fff (prio 0, i/o): virtio-pci-common-virtio-blk
  0000210000051000-0000210000051fff (prio 0, i/o): virtio-pci-isr-virtio-blk
  0000210000052000-0000210000052fff (prio 0, i/o): virtio-pci-device-virtio-blk
  0000210000053000-0000210000053fff (prio 0, i/o): virtio-pci-notify-virtio-blk

FlatView #2
 AS "I/O", root: io
"""

"""What KVM does to the second-level tree of a radix guest, step by step, on memory that is nobody's but ours.

After ``book3s_64_mmu_radix.c`` of Linux at commit 70cd4c10b2 (the seed), function by function; what later kernels do
otherwise is data, in :mod:`inspector.kvm.history`.
"""

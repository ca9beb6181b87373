// How blocks that work on the same windows tell each other, through global memory, how far they are.
//
// They take their work in the order in which they begin, by a ticket. So a block waits for none that began later, except
// those of its own windows, which are next to begin, and a launch has at most one group of windows whose blocks have not
// all begun. No block waits for ever as long as these find room, times the launches at the same time.

// Adds to a counter in global memory what this thread knows to be written. The release is needed for bulk stores, too,
// although they have ended: without it, blocks were seen to read what was there before.
INLINE void add_progress(uint32* counter, uint32 count) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(counter), "r"(count) : "memory");
}
INLINE void wait_count(const uint32* counter, uint32 least) {
    uint32 found;
    do asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(found) : "l"(counter) : "memory");
    while (found < least);
}
// Waits until a counter has reached a number, before reads of what was written.
INLINE void wait_progress(const uint32* counter, uint32 least) {
    wait_count(counter, least);
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
}

// How blocks that work on the same windows tell each other, through global memory, how far they are.
//
// They take their work in the order in which they begin, by a ticket. So a block waits for none that began later, except
// those of its own windows, which are next to begin, and a launch has at most one group of windows whose blocks have not
// all begun. No block waits for ever as long as these find room, times the launches at the same time.

// A counter in global memory: adds to it what this thread knows to be written; waits until it has reached a number.
INLINE void add_progress(uint32* counter, uint32 count) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(counter), "r"(count) : "memory");
}
INLINE void wait_progress(const uint32* counter, uint32 least) {
    uint32 found;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(found) : "l"(counter) : "memory");
    while (found < least);
}

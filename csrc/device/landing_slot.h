// Where a scalar lands: 16 bytes of host memory that a device writes and the host reads.
#pragma once

#include <atomic>
#include <cstdint>

namespace ringmeter {

// Two words of 8 bytes, each 4 bytes of the payload (lower half) and a tag (upper half): NCCL's LL protocol.
// A word is written and read in one piece on every system, two words are not; but a word carries the proof
// that it has landed with it, so that the order of the two, and of anything else, does not matter. Neither
// side needs a fence.
//
// Only the device writes, after the host has zeroed the ring once. Any thread may read.
struct LandingSlot {
  std::atomic<std::uint64_t> word[2];

  // The payload, if it is the one with that tag. Acquire, for tools that cannot see the device: the tag is
  // what makes it safe.
  bool read(std::uint32_t tag, std::uint64_t* bits) const {
    const std::uint64_t low = word[0].load(std::memory_order_acquire);
    const std::uint64_t high = word[1].load(std::memory_order_acquire);
    if (low >> 32 != tag || high >> 32 != tag) return false;
    *bits = (low & 0xFFFFFFFF) | high << 32;
    return true;
  }
};

static_assert(sizeof(LandingSlot) == 16 && std::atomic<std::uint64_t>::is_always_lock_free,
              "append.ptx writes these two words");

// The tag of entry `number` of a ring of 2^log2_capacity slots: its lap, from 1 (0 is what a slot begins
// with). Wraps after 2^32 laps, when slots hold the lap before.
inline std::uint32_t landing_tag(std::uint64_t number, unsigned log2_capacity) {
  return static_cast<std::uint32_t>((number >> log2_capacity) + 1);
}

}  // namespace ringmeter

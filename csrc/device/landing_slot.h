// Where scalars land: host memory that a device writes and the host reads.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ringmeter {

// Words of 8 bytes, each 4 bytes of the payload (lower half) and a tag (upper half): NCCL's LL protocol. A
// word is written and read in one piece on every system, several are not; but a word carries the proof that
// it has landed with it, so that the order of the words, and of anything else, does not matter. Neither side
// needs a fence.
//
// Only the device writes, after the host has zeroed the slot once. Any thread may read.
template <std::size_t kWords>
struct TaggedWords {
  std::array<std::atomic<std::uint64_t>, kWords> word = {};

  // The payload, if all of it is the one with that tag. Acquire, for tools that cannot see the device: the
  // tag is what makes it safe.
  bool read(std::uint32_t tag, std::array<std::uint32_t, kWords>* payload) const {
    for (std::size_t i = 0; i < kWords; ++i) {
      const std::uint64_t seen = word[i].load(std::memory_order_acquire);
      if (seen >> 32 != tag) return false;
      (*payload)[i] = static_cast<std::uint32_t>(seen);
    }
    return true;
  }
  // The tag of the first word: of a payload that has landed, or is landing.
  std::uint32_t tag() const {
    return static_cast<std::uint32_t>(word[0].load(std::memory_order_acquire) >> 32);
  }
  // How far the newest of the words is ahead of a tag; 0 when none is.
  std::uint32_t ahead_of(std::uint32_t tag) const {
    std::int32_t most = 0;
    for (const auto& each : word) {
      const auto seen = static_cast<std::uint32_t>(each.load(std::memory_order_acquire) >> 32);
      most = std::max(most, static_cast<std::int32_t>(seen - tag));  // modulo 2^32
    }
    return static_cast<std::uint32_t>(most);
  }
};

// The bits of a value: lower half, upper half.
struct alignas(16) LandingSlot : TaggedWords<2> {
  bool read(std::uint32_t tag, std::uint64_t* bits) const {
    std::array<std::uint32_t, 2> halves;
    if (!TaggedWords::read(tag, &halves)) return false;
    *bits = halves[0] | std::uint64_t{halves[1]} << 32;
    return true;
  }
};

// The same, the number of the node that wrote it, and how often that node has run, modulo 2^32.
struct alignas(32) GraphSlot : TaggedWords<4> {};

// The totals of a node, tagged with the lower half of the count: sum, minimum, maximum and the bits of the
// last value, two words each; the number of NaNs, two words; the upper half of the count; and one that is 0.
struct alignas(16) TotalsSlot : TaggedWords<12> {};

static_assert(sizeof(LandingSlot) == 16 && sizeof(GraphSlot) == 32 && sizeof(TotalsSlot) == 96 &&
                  std::atomic<std::uint64_t>::is_always_lock_free,
              "append.ptx writes these words");

// The tag of entry `number` of a ring of 2^log2_capacity slots: its lap, from 1 (0 is what a slot begins
// with). Wraps after 2^32 laps, when slots hold the lap before.
inline std::uint32_t landing_tag(std::uint64_t number, unsigned log2_capacity) {
  return static_cast<std::uint32_t>((number >> log2_capacity) + 1);
}

}  // namespace ringmeter

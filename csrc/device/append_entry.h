// The parameters of the kernels in append.ptx. The driver copies them at launch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringmeter {

// One scalar to be copied: `bytes` (1, 2, 4 or 8) from `source` into a landing slot, both device addresses.
// With 0 bytes, the device's clock in nanoseconds is stored instead.
struct AppendEntry {
  std::uint64_t source;
  std::uint64_t slot;
  std::uint32_t bytes;
  std::uint32_t tag;
};

static_assert(sizeof(AppendEntry) == 24 && offsetof(AppendEntry, slot) == 8 &&
                  offsetof(AppendEntry, bytes) == 16 && offsetof(AppendEntry, tag) == 20,
              "append.ptx reads these places");

constexpr std::size_t kMostEntries = 32;  // of one launch: a warp, and p_entries in append.ptx

constexpr char kAppendOne[] = "ringmeter_append_one";
constexpr char kAppendMany[] = "ringmeter_append_many";

}  // namespace ringmeter

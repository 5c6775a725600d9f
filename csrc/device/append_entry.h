// The parameters of the kernels in append.cu, and what they write. The driver copies parameters at launch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringmeter {

// One scalar to be copied: `bytes` (1, 2, 4 or 8) from `source` into a LandingSlot, both device addresses.
// With 0 bytes, the device's clock in nanoseconds is stored instead.
struct AppendEntry {
  std::uint64_t source;
  std::uint64_t slot;
  std::uint32_t bytes;
  std::uint32_t tag;
};

static_assert(sizeof(AppendEntry) == 24 && offsetof(AppendEntry, slot) == 8 &&
                  offsetof(AppendEntry, bytes) == 16 && offsetof(AppendEntry, tag) == 20,
              "append.ptx reads these places: after a change, make ptx");

// One scalar that a captured node copies each time the graph runs. Nobody on the host takes part in that: the
// device itself counts the entries of the ring, and keeps totals that no overrun can take away.
struct GraphEntry {
  std::uint64_t source;   // of the scalar
  std::uint64_t ring;     // GraphSlot[1 << log2_capacity], in host memory
  std::uint64_t counter;  // u64 in device memory: entries ever put into the ring, by any node
  std::uint64_t totals;   // NodeTotals in device memory
  std::uint64_t shown;    // TotalsSlot in host memory, a copy of `totals` after each run
  std::uint32_t bytes;    // 1, 2, 4 or 8
  std::uint32_t type;     // ElementType
  std::uint32_t node;     // identifies the entry to the host
  std::uint32_t log2_capacity;
};

static_assert(sizeof(GraphEntry) == 56, "append.ptx reads these places: after a change, make ptx");

// What one GraphEntry has copied so far. `sum`, `minimum` and `maximum` are of the values that are no NaN.
struct NodeTotals {
  std::uint64_t count;
  std::uint64_t nans;
  double sum;
  double minimum;
  double maximum;
};

constexpr std::size_t kMostEntries = 32;  // of one launch: a warp

// The parameter of a launch of many. The driver copies all of it, however few threads there are.
struct AppendEntries {
  AppendEntry entry[kMostEntries];
};
struct GraphEntries {
  GraphEntry entry[kMostEntries];
};

// One entry in one thread; up to kMostEntries, each in a thread of one block.
constexpr char kAppendOne[] = "ringmeter_append_one";
constexpr char kAppendMany[] = "ringmeter_append_many";
constexpr char kAppendGraph[] = "ringmeter_append_graph";

}  // namespace ringmeter

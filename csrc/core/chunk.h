// The memory of the ring: fixed-size runs of slots with their summaries. All allocation is here.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/slot.h"
#include "core/summary.h"

namespace ringmeter {

constexpr std::size_t kFanOut = 8;                        // blocks under the next larger one
constexpr std::size_t kLeafSize = 128;                    // entries under the smallest summary
constexpr std::size_t kChunkSize = kLeafSize * kFanOut;   // entries of one chunk, 1024
constexpr std::size_t kOctetSize = kChunkSize * kFanOut;  // 8192
constexpr std::size_t kRunSize = kOctetSize * kFanOut;    // 65536
constexpr std::size_t kRunChunks = kRunSize / kChunkSize;

using LeafCells = std::array<SummaryCell, kFanOut>;

// A value beside each slot of a chunk: exists only once one differs from the default.
struct SideColumn {
  explicit SideColumn(double fill_value);
  void fill(double fill_value);

  std::array<std::atomic<double>, kChunkSize> value;
  LeafCells leaves;
};

// 64-byte aligned, so that an entry of the directory can keep a lap number in the low bits.
struct alignas(64) Chunk {
  static constexpr double kDefaultCount = 1.0;
  static constexpr double kDefaultLow = 0.0;

  Chunk();
  ~Chunk();
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  // Makes every slot empty again. Only for a chunk that no directory entry leads to.
  void reset();
  // Whether every slot holds a value: no thread is going to write here any more.
  bool all_landed() const;

  // The column, made on first use: racing callers get the same one. Throws std::bad_alloc.
  SideColumn& counts();
  SideColumn& lows();

  std::array<std::atomic<SlotBits>, kChunkSize> slots;
  LeafCells leaves;
  std::atomic<SideColumn*> count_column{nullptr};  // counts other than 1
  std::atomic<SideColumn*> low_column{nullptr};    // low parts of integers beyond 2^53
  Chunk* next_set_aside = nullptr;                 // while on Ring::set_aside_
  // Written by the one thread that has the chunk while no directory entry leads to it.
  bool was_live = false;  // has been in a directory: other threads may still look at it
  bool is_empty = true;   // every slot is kEmpty, so that it can be installed as it is
};

}  // namespace ringmeter

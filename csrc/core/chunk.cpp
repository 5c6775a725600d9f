#include "core/chunk.h"

#include <memory>

namespace ringmeter {

namespace {

SideColumn& column(std::atomic<SideColumn*>& place, double fill_value) {
  SideColumn* existing = place.load(std::memory_order_acquire);
  if (existing != nullptr) return *existing;
  auto fresh = std::make_unique<SideColumn>(fill_value);
  if (place.compare_exchange_strong(existing, fresh.get(), std::memory_order_acq_rel,
                                    std::memory_order_acquire)) {
    return *fresh.release();
  }
  return *existing;
}

}  // namespace

SideColumn::SideColumn(double fill_value) { fill(fill_value); }

void SideColumn::fill(double fill_value) {
  for (auto& each : value) each.store(fill_value, std::memory_order_release);
}

Chunk::Chunk() {
  for (auto& slot : slots) slot.store(kEmpty, std::memory_order_relaxed);  // published with the chunk
}

Chunk::~Chunk() {
  delete count_column.load(std::memory_order_relaxed);
  delete low_column.load(std::memory_order_relaxed);
}

void Chunk::reset() {
  // Release: a reader still here that sees one of these stores also sees, when it checks, that the
  // directory entry it came by is gone (D in ring.h).
  for (auto& slot : slots) slot.store(kEmpty, std::memory_order_release);
  if (SideColumn* counts = count_column.load(std::memory_order_acquire)) counts->fill(kDefaultCount);
  if (SideColumn* lows = low_column.load(std::memory_order_acquire)) lows->fill(kDefaultLow);
  is_empty = true;
}

bool Chunk::all_landed() const {
  for (const auto& slot : slots) {
    if (!is_landed(slot.load(std::memory_order_acquire))) return false;
  }
  return true;
}

SideColumn& Chunk::counts() { return column(count_column, kDefaultCount); }

SideColumn& Chunk::lows() { return column(low_column, kDefaultLow); }

}  // namespace ringmeter

#include "allocation.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace ringmeter::tests {

namespace {

std::atomic<std::ptrdiff_t> chunks{0};
thread_local std::size_t failures_left = 0;

void* allocated(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void fail_if_told() {
  if (failures_left == 0) return;
  --failures_left;
  throw std::bad_alloc();
}

}  // namespace

std::ptrdiff_t live_chunks() { return chunks.load(); }

MemoryRunsOut::MemoryRunsOut(std::size_t n) { failures_left = n; }

MemoryRunsOut::~MemoryRunsOut() { failures_left = 0; }

}  // namespace ringmeter::tests

using ringmeter::tests::allocated;
using ringmeter::tests::chunks;
using ringmeter::tests::fail_if_told;

void* operator new(std::size_t size) {
  fail_if_told();
  return allocated(std::malloc(size != 0 ? size : 1));
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  fail_if_told();
  const auto step = static_cast<std::size_t>(alignment);
  void* memory = allocated(std::aligned_alloc(step, (size + step - 1) / step * step));
  chunks.fetch_add(1);
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }

void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

void operator delete(void* memory, std::align_val_t) noexcept {
  if (memory != nullptr) chunks.fetch_sub(1);
  std::free(memory);
}

void operator delete(void* memory, std::size_t, std::align_val_t alignment) noexcept {
  operator delete(memory, alignment);
}

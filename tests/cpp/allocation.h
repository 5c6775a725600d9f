// What the core does with memory, and what it does without.
#pragma once

#include <cstddef>

namespace ringmeter::tests {

// Chunks that are allocated and not freed, in the whole process: nothing else here is aligned to 64 bytes.
std::ptrdiff_t live_chunks();

// The next `n` allocations of this thread throw std::bad_alloc. A CHECK allocates: none while this lives.
class MemoryRunsOut {
 public:
  explicit MemoryRunsOut(std::size_t n = static_cast<std::size_t>(-1));
  ~MemoryRunsOut();
  MemoryRunsOut(const MemoryRunsOut&) = delete;
  MemoryRunsOut& operator=(const MemoryRunsOut&) = delete;
};

}  // namespace ringmeter::tests

// Threads that start at the same moment.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace ringmeter::tests {

// Runs each of `jobs` on a thread of its own, all let go together, and waits for them. CHECK outside.
inline void run_together(const std::vector<std::function<void()>>& jobs) {
  std::atomic<std::size_t> ready{0};
  std::vector<std::thread> threads;
  for (const auto& job : jobs) {
    threads.emplace_back([&ready, &job, n = jobs.size()] {
      ready.fetch_add(1);
      while (ready.load() < n) std::this_thread::yield();
      job();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace ringmeter::tests

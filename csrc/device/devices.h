// The CUDA devices of the process: found when the first of their tensors is recorded, kept for ever.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/driver_api.h"

namespace ringmeter {

// Any thread may call anything. It ends in one of two ways: close(), before the process exits, or a fork,
// after which the child can use neither the driver nor the memory that it mapped. Either way nothing of a
// device is touched any more, and what was still on its way stays that.
class Devices {
 public:
  static constexpr std::size_t kMost = 64;

  static Devices& instance();  // never destroyed

  // The device of that ordinal, made if it is the first time: tens of milliseconds. Null when it cannot be
  // used, for a reason that problem() gives. Not to be called with the GIL held unless is_known(ordinal).
  Device* find(int ordinal);
  bool is_known(int ordinal) const;
  std::string problem(int ordinal) const;
  // Why each device that was tried cannot be used, by ordinal; '' of others.
  std::vector<std::string> problems() const;
  // Throws DriverError when nothing of any device may be touched any more.
  void require_open() const;

  // Whether there is any device: until then, nothing can be on its way.
  bool is_used() const { return used_.load(std::memory_order_acquire) != 0; }
  bool is_forked() const { return state_.load(std::memory_order_acquire) == State::kForked; }

  // Lands what has arrived, on all devices. With `may_wait` not to be called with the GIL held.
  void drain(bool may_wait);
  // Calls free(owner) for all that has landed.
  void release(void (*free)(void* owner));

  // Drains until `landed()`. False at the deadline. Throws DriverError when devices can no longer be asked,
  // or one has failed and what had been launched on the others has landed. Not to be called with the GIL
  // held.
  template <class Landed>
  bool wait(std::chrono::steady_clock::time_point deadline, Landed&& landed);

  // How much has been launched so far, by ordinal; and whether all that has landed.
  std::vector<std::uint64_t> mark() const;
  bool has_landed(const std::vector<std::uint64_t>& mark) const;
  std::uint64_t in_flight() const;

  // Waits, not longer than until the deadline, for what is on its way; then nothing is touched any more.
  void close(std::chrono::steady_clock::time_point deadline);

 private:
  enum class State : int { kOpen, kForked, kClosed };

  // A wait's turns: spins, then yields, then sleeps, and now and then asks whether a device has failed.
  class Patience {
   public:
    explicit Patience(Devices* devices) : devices_(devices), mark_(devices->mark()) {}
    void once();

   private:
    Devices* devices_;
    std::vector<std::uint64_t> mark_;  // what is waited for, of devices that have not failed
    std::chrono::steady_clock::time_point next_check_ =
        std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    unsigned turns_ = 0;
  };

  Devices() = default;
  template <class Visit>
  void for_each(Visit&& visit) const;

  std::atomic<State> state_{State::kOpen};
  std::atomic<std::size_t> used_{0};  // one more than the greatest ordinal
  std::array<std::atomic<Device*>, kMost> devices_ = {};
  mutable std::mutex mutex_;  // protects the two below, and the making of devices
  std::unique_ptr<DriverApi> driver_;
  std::array<std::string, kMost> problems_;
};

template <class Visit>
void Devices::for_each(Visit&& visit) const {
  if (state_.load(std::memory_order_acquire) != State::kOpen) return;
  const std::size_t used = used_.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < used; ++i) {
    Device* device = devices_[i].load(std::memory_order_acquire);
    if (device != nullptr) visit(i, *device);
  }
}

template <class Landed>
bool Devices::wait(std::chrono::steady_clock::time_point deadline, Landed&& landed) {
  for (Patience patience(this);;) {
    drain(true);
    if (landed()) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    require_open();
    patience.once();
  }
}

}  // namespace ringmeter

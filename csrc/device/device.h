// One GPU: scalars that are still on it, on their way into host memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/element.h"
#include "device/append_entry.h"
#include "device/driver_api.h"
#include "device/landing_slot.h"

namespace ringmeter {

// A one-element tensor on a device, and for whom its value is.
struct DeviceScalar {
  DevicePointer source;
  ElementType type;
  void* owner;
  std::uint64_t position;
};

// Any thread may call anything. Invariants:
//  1. append() never waits for the device: it enqueues a kernel that copies the scalars as they are at that
//  point
//     of the stream. The sources may be freed or overwritten, in stream order, as soon as it returns.
//  2. Values land in the order of the calls, whatever the streams; each lands once.
//  3. A slot is given to the device again only after its value was taken out of it.
//  4. Once the device has failed, append() throws and what had landed can still be taken.
// Memory and modules are never freed: at exit the driver may be gone first.
class Device {
 public:
  // `ordinal` counts as CUDA_VISIBLE_DEVICES does. Initialises the device, which takes tens of milliseconds,
  // and proves that a value lands. `driver` must outlive the device. Numbers begin with `first`, a multiple
  // of the capacity. Throws DriverError, std::bad_alloc.
  Device(const DriverApi& driver, int ordinal, unsigned log2_capacity = 16, std::uint64_t first = 0);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Enqueues copies of `n` <= kMostEntries scalars in one launch. False, and nothing has happened, when there
  // is no room for them: drain() first. Throws DriverError, and nothing has happened.
  bool append(const DeviceScalar* scalars, std::size_t n, DriverStream stream);

  // Takes out what has landed: calls land(const DeviceScalar&, const Number&) for each value, under a lock.
  // Returns how many. Makes no call to the driver.
  template <class Land>
  std::size_t drain(Land&& land);

  // The number after that of the newest value enqueued, and taken out.
  std::uint64_t enqueued() const;
  std::uint64_t drained() const;

  // Drains until all values before `number` have been taken out. False when that takes longer than `timeout`.
  // Throws DriverError when the device has failed. Never call it with the GIL held.
  template <class Land>
  bool wait(std::uint64_t number, std::chrono::milliseconds timeout, Land&& land);

 private:
  // A wait's turns: spins, then yields, then sleeps, and now and then asks whether the device has failed.
  class Patience {
   public:
    Patience(Device* device, std::chrono::milliseconds timeout);
    bool once();  // false: time is up. Throws DriverError.

   private:
    using Clock = std::chrono::steady_clock;
    Device* device_;
    Clock::time_point deadline_;
    Clock::time_point next_check_;
    unsigned turns_ = 0;
  };

  void initialise(int ordinal);
  void prove();
  void launch(AppendEntry* entries, std::size_t n, DriverStream stream);
  void check();
  AppendEntry entry(std::uint64_t number, DevicePointer source, std::uint32_t bytes) const;
  LandingSlot& slot(std::uint64_t number) const { return slots_[number & (capacity() - 1)]; }
  std::uint64_t capacity() const { return std::uint64_t{1} << log2_capacity_; }

  const DriverApi& driver_;
  const unsigned log2_capacity_;
  DriverContext context_ = nullptr;
  DriverFunction append_one_ = nullptr;
  DriverFunction append_many_ = nullptr;
  DriverStream private_stream_ = nullptr;  // nobody else's: it may be queried at any time
  LandingSlot* slots_ = nullptr;           // pinned, mapped into the device
  DevicePointer device_slots_ = 0;         // the same, as the device sees it
  mutable std::mutex mutex_;               // protects all below
  std::vector<DeviceScalar> in_flight_;    // by number modulo capacity
  std::uint64_t head_;
  std::uint64_t tail_;
  DriverResult failure_ = kSuccess;  // the error after which nothing works any more
};

template <class Land>
std::size_t Device::drain(Land&& land) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::size_t n = 0;
  std::uint64_t bits = 0;
  for (; tail_ != head_ && slot(tail_).read(landing_tag(tail_, log2_capacity_), &bits); ++tail_, ++n) {
    const DeviceScalar& scalar = in_flight_[tail_ & (capacity() - 1)];
    land(scalar, decode_element(scalar.type, &bits));
  }
  return n;
}

template <class Land>
bool Device::wait(std::uint64_t number, std::chrono::milliseconds timeout, Land&& land) {
  for (Patience patience(this, timeout);;) {
    drain(land);
    if (drained() >= number) return true;
    if (!patience.once()) return false;
  }
}

}  // namespace ringmeter

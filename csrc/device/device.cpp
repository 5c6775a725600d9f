#include "device/device.h"

#include <algorithm>
#include <new>
#include <string>
#include <thread>

#include "device/append_ptx.h"
#include "device/context_guard.h"

namespace ringmeter {

Device::Device(const DriverApi& driver, int ordinal, unsigned log2_capacity, std::uint64_t first)
    : driver_(driver),
      log2_capacity_(log2_capacity),
      in_flight_(std::size_t{1} << log2_capacity),
      head_(first),
      tail_(first) {
  const RelaxedCaptureGuard relaxed(driver_);  // somebody may be capturing
  initialise(ordinal);
  prove();
}

void Device::initialise(int ordinal) {
  int device = 0;
  driver_.check(driver_.cuDeviceGet(&device, ordinal), "cuDeviceGet");
  // The context that torch uses.
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, device), "cuDevicePrimaryCtxRetain");
  const ContextGuard guard(driver_, context_);
  DriverModule module = nullptr;
  driver_.check(driver_.cuModuleLoadData(&module, kAppendPtx), "cuModuleLoadData");
  driver_.check(driver_.cuModuleGetFunction(&append_one_, module, kAppendOne), "cuModuleGetFunction");
  driver_.check(driver_.cuModuleGetFunction(&append_many_, module, kAppendMany), "cuModuleGetFunction");
  driver_.check(driver_.cuStreamCreate(&private_stream_, kStreamNonBlocking), "cuStreamCreate");
  void* memory = nullptr;
  driver_.check(driver_.cuMemHostAlloc(&memory, sizeof(LandingSlot) << log2_capacity_,
                                       kHostAllocPortable | kHostAllocMapped),
                "cuMemHostAlloc");
  slots_ = static_cast<LandingSlot*>(memory);
  for (std::uint64_t i = 0; i < capacity(); ++i) new (&slots_[i]) LandingSlot{};  // tag 0
  driver_.check(driver_.cuMemHostGetDevicePointer_v2(&device_slots_, memory, 0), "cuMemHostGetDevicePointer");
}

// The first launch of each kernel, which may load it, and a value that must arrive: where host memory is not
// really mapped, as under confidential computing, it does not.
void Device::prove() {
  Patience patience(this, std::chrono::seconds(5));
  for (const std::uint64_t most : {1, 2}) {
    const std::uint64_t n = std::min(most, capacity());
    AppendEntry entries[2];
    for (std::uint64_t i = 0; i < n; ++i) entries[i] = entry(head_ + i, 0, 0);
    launch(entries, static_cast<std::size_t>(n), private_stream_);
    head_ += n;
    for (std::uint64_t bits = 0; tail_ != head_; ++tail_) {
      while (!slot(tail_).read(landing_tag(tail_, log2_capacity_), &bits)) {
        if (!patience.once())
          throw DriverError(kSuccess, "a value must land within 5 s of its launch, none did");
      }
    }
  }
}

AppendEntry Device::entry(std::uint64_t number, DevicePointer source, std::uint32_t bytes) const {
  const DevicePointer slot = device_slots_ + (number & (capacity() - 1)) * sizeof(LandingSlot);
  return {source, slot, bytes, landing_tag(number, log2_capacity_)};
}

void Device::launch(AppendEntry* entries, std::size_t n, DriverStream stream) {
  const ContextGuard guard(driver_, context_);
  if (n == 1) {
    void* parameters[] = {entries};
    driver_.check(driver_.cuLaunchKernel(append_one_, 1, 1, 1, 1, 1, 1, 0, stream, parameters, nullptr),
                  "cuLaunchKernel");
    return;
  }
  AppendEntry all[kMostEntries] = {};  // the driver copies the whole parameter
  std::copy(entries, entries + n, all);
  void* parameters[] = {all};
  driver_.check(driver_.cuLaunchKernel(append_many_, 1, 1, 1, static_cast<unsigned>(n), 1, 1, 0, stream,
                                       parameters, nullptr),
                "cuLaunchKernel");
}

bool Device::append(const DeviceScalar* scalars, std::size_t n, DriverStream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  driver_.check(failure_, "the device has failed");
  if (head_ - tail_ + n > capacity()) return false;
  AppendEntry entries[kMostEntries];
  for (std::size_t i = 0; i < n; ++i) {
    entries[i] = entry(head_ + i, scalars[i].source, element_size(scalars[i].type));
  }
  launch(entries, n, stream);  // throws before anything has changed: the slots are given to the next call
  for (std::size_t i = 0; i < n; ++i) in_flight_[(head_ + i) & (capacity() - 1)] = scalars[i];
  head_ += n;
  return true;
}

std::uint64_t Device::enqueued() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return head_;
}

std::uint64_t Device::drained() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tail_;
}

// Errors of kernels come back from any later call. The stream is our own: a user's may be gone, or capturing.
void Device::check() {
  const RelaxedCaptureGuard relaxed(driver_);
  DriverResult result = kSuccess;
  {
    const ContextGuard guard(driver_, context_);
    result = driver_.cuStreamQuery(private_stream_);
  }
  if (result == kSuccess || result == kNotReady) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  failure_ = result;
  driver_.check(result, "the device has failed");
}

Device::Patience::Patience(Device* device, std::chrono::milliseconds timeout)
    : device_(device),
      deadline_(Clock::now() + timeout),
      next_check_(Clock::now() + std::chrono::milliseconds(1)) {}

bool Device::Patience::once() {
  if (++turns_ < 200) return true;
  if (turns_ < 400) {
    std::this_thread::yield();
    return true;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(50));
  const Clock::time_point now = Clock::now();
  if (now >= next_check_) {
    device_->check();
    next_check_ = now + std::chrono::milliseconds(1);
  }
  return now < deadline_;
}

}  // namespace ringmeter

#include "device/devices.h"

#include <pthread.h>

#include <optional>
#include <thread>

namespace ringmeter {

Devices& Devices::instance() {
  static Devices* devices = new Devices;
  return *devices;
}

bool Devices::is_known(int ordinal) const {
  const auto i = static_cast<std::size_t>(ordinal);
  return i < kMost && devices_[i].load(std::memory_order_acquire) != nullptr;
}

Device* Devices::find(int ordinal) {
  const auto i = static_cast<std::size_t>(ordinal);
  if (i >= kMost || state_.load(std::memory_order_acquire) != State::kOpen) return nullptr;
  Device* device = devices_[i].load(std::memory_order_acquire);
  if (device != nullptr) return device;
  const std::lock_guard<std::mutex> lock(mutex_);
  device = devices_[i].load(std::memory_order_relaxed);
  if (device != nullptr || !problems_[i].empty()) return device;
  try {
    if (driver_ == nullptr) {
      driver_ = std::make_unique<DriverApi>(load_driver());
      pthread_atfork(nullptr, nullptr, [] { instance().state_.store(State::kForked); });
    }
    device = new Device(*driver_, ordinal, Device::Sizes{});
  } catch (const DriverError& error) {
    problems_[i] = error.what();
    return nullptr;
  }
  devices_[i].store(device, std::memory_order_release);
  if (used_ <= i) used_.store(i + 1, std::memory_order_release);
  return device;
}

std::string Devices::problem(int ordinal) const {
  switch (state_.load(std::memory_order_acquire)) {
    case State::kForked: return "CUDA was in use before the process was forked";
    case State::kClosed: return "the interpreter is exiting";
    case State::kOpen: break;
  }
  const auto i = static_cast<std::size_t>(ordinal);
  if (i >= kMost) return "ordinals must be below " + std::to_string(kMost);
  const std::lock_guard<std::mutex> lock(mutex_);
  return problems_[i];
}

std::vector<std::string> Devices::problems() const {
  if (state_.load(std::memory_order_acquire) == State::kForked) return {};  // the mutex may be taken for ever
  const std::lock_guard<std::mutex> lock(mutex_);
  return {problems_.begin(), problems_.end()};
}

void Devices::require_open() const {
  if (state_.load(std::memory_order_acquire) != State::kOpen) throw DriverError(kSuccess, problem(0));
}

void Devices::drain(bool may_wait) {
  for_each([&](std::size_t, Device& device) { device.drain(may_wait); });
}

void Devices::release(void (*free)(void* owner)) {
  for_each([&](std::size_t, Device& device) {
    while (device.release(free)) {
    }
  });
}

std::vector<std::uint64_t> Devices::mark() const {
  std::vector<std::uint64_t> mark;
  for_each([&](std::size_t i, Device& device) {
    mark.resize(i + 1);
    mark[i] = device.enqueued();
  });
  return mark;
}

bool Devices::has_landed(const std::vector<std::uint64_t>& mark) const {
  bool all = true;
  for_each(
      [&](std::size_t i, Device& device) { all = all && (i >= mark.size() || device.drained() >= mark[i]); });
  return all;
}

std::uint64_t Devices::in_flight() const {
  std::uint64_t n = 0;
  for_each([&](std::size_t, Device& device) {
    const std::uint64_t drained = device.drained();  // first: it never overtakes
    n += device.enqueued() - drained;
  });
  return n;
}

void Devices::close(std::chrono::steady_clock::time_point deadline) {
  const std::vector<std::uint64_t> now = mark();  // other threads may go on for ever
  try {
    wait(deadline, [&] { return has_landed(now); });
  } catch (const DriverError&) {  // it will not get better
  }
  State open = State::kOpen;
  state_.compare_exchange_strong(open, State::kClosed);
}

void Devices::Patience::once() {
  if (++turns_ < 200) return;
  if (turns_ < 400) {
    std::this_thread::yield();
    return;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(50));
  const auto now = std::chrono::steady_clock::now();
  if (now < next_check_) return;
  std::optional<DriverError> failure;
  bool has_landed = true;
  devices_->for_each([&](std::size_t i, Device& device) {
    try {
      if (device.enqueued() != device.drained()) device.check();
      has_landed = has_landed && (i >= mark_.size() || device.drained() >= mark_[i]);
    } catch (const DriverError& error) {
      failure = error;
    }
  });
  if (failure.has_value() && has_landed) throw DriverError(*failure);
  next_check_ = now + std::chrono::milliseconds(1);
}

}  // namespace ringmeter

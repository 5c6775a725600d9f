// The state of the calling thread that a driver call needs, for the length of a scope.
#pragma once

#include "device/driver_api.h"

namespace ringmeter {

// Makes a context the current one. Threads that never touched CUDA have none, and the default stream belongs
// to whichever is current.
class ContextGuard {
 public:
  // Throws DriverError.
  ContextGuard(const DriverApi& driver, DriverContext context) : driver_(driver) {
    DriverContext current = nullptr;
    driver_.check(driver_.cuCtxGetCurrent(&current), "cuCtxGetCurrent");
    if (current == context) return;
    driver_.check(driver_.cuCtxPushCurrent_v2(context), "cuCtxPushCurrent");
    is_pushed_ = true;
  }
  ~ContextGuard() {
    DriverContext popped = nullptr;
    if (is_pushed_) driver_.cuCtxPopCurrent_v2(&popped);
  }
  ContextGuard(const ContextGuard&) = delete;
  ContextGuard& operator=(const ContextGuard&) = delete;

 private:
  const DriverApi& driver_;
  bool is_pushed_ = false;
};

// Lets the thread make calls that would otherwise invalidate a capture that is going on in any thread.
class RelaxedCaptureGuard {
 public:
  explicit RelaxedCaptureGuard(const DriverApi& driver) : driver_(driver) {
    is_exchanged_ = driver_.cuThreadExchangeStreamCaptureMode(&mode_) == kSuccess;
  }
  ~RelaxedCaptureGuard() {
    if (is_exchanged_) driver_.cuThreadExchangeStreamCaptureMode(&mode_);
  }
  RelaxedCaptureGuard(const RelaxedCaptureGuard&) = delete;
  RelaxedCaptureGuard& operator=(const RelaxedCaptureGuard&) = delete;

 private:
  const DriverApi& driver_;
  int mode_ = kCaptureModeRelaxed;  // then what it was before
  bool is_exchanged_ = false;
};

}  // namespace ringmeter

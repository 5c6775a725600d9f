// Control of the test double for libcuda.so.1. Only tests call these.
#pragma once

#include <cstddef>

#include "device/driver_api.h"

namespace ringmeter::tests {

// Back to two devices, driver and PTX version of CUDA 13.0, nothing to fail, counters at 0.
void fake_reset();

// Later cuModuleLoadData refuse PTX above that version, as an old driver does.
void fake_set_ptx_version(int major, int minor);

// A stream of a device that runs what is queued in order, on a thread of its own, each after a delay.
DriverStream fake_stream(int device);
void fake_delay(DriverStream stream, int microseconds);
void fake_pause(DriverStream stream, bool paused);

// What the null stream means with a context of that device current. Null: there is no such device.
DriverStream fake_default_stream(int device);

// Waits until all that was queued has run.
void fake_sync(DriverStream stream);

// A kernel that writes to memory of the device, in stream order.
void fake_write(DriverStream stream, void* to, const void* from, std::size_t bytes);

// Makes the nth call from now (1: the next) of a driver function, and with `for_ever` all later ones, fail.
void fake_fail(const char* function, long nth, DriverResult result, bool for_ever = false);

// Number of calls of a driver function.
long fake_calls(const char* function);

// Number of contexts on the calling thread's stack.
std::size_t fake_contexts();

}  // namespace ringmeter::tests

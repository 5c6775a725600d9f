// Control of the test double for libcuda.so.1. Only tests call these.
#pragma once

#include <cstddef>

#include "device/driver_api.h"

namespace ringmeter::tests {

// Back to two devices, driver and PTX version of CUDA 13.0, nothing to fail, nothing shut down, no stream
// that captures, counters at 0.
void fake_reset();

// Later cuModuleLoadData refuse PTX above that version, as an old driver does.
void fake_set_ptx_version(int major, int minor);

// From now on, or no longer, every driver function fails with kDeinitialised: the driver is gone before us.
void fake_shutdown(bool is_shut_down);

// A stream of a device that runs what is queued in order, on a thread of its own, each after a delay. The
// legacy default stream is in nobody's way while a stream that is not blocking captures.
DriverStream fake_stream(int device, bool is_blocking = true);
void fake_delay(DriverStream stream, int microseconds);
void fake_pause(DriverStream stream, bool paused);

// What the null stream means with a context of that device current. Null: there is no such device.
DriverStream fake_default_stream(int device);

// Waits until all that was queued has run.
void fake_sync(DriverStream stream);

// A kernel that writes to memory of the device, in stream order.
void fake_write(DriverStream stream, void* to, const void* from, std::size_t bytes);

// Capture, as cuStreamBeginCapture and its like. What is put into the stream between the two becomes a node
// of the graph, with its parameters as they are then, and does not run. The graph is null, and the result
// kCaptureInvalidated, when a call was made that this capture forbids: see fake_cuda.cpp.
struct FakeGraph;
DriverResult fake_begin_capture(DriverStream stream, int mode);
DriverResult fake_end_capture(DriverStream stream, FakeGraph** graph);

// Puts all nodes into a stream, in the order of the capture. Replays of one graph never overlap.
DriverResult fake_replay(FakeGraph* graph, DriverStream stream);

std::size_t fake_nodes(const FakeGraph* graph);

// Makes the nth call from now (1: the next) of a driver function, and with `for_ever` all later ones, fail.
void fake_fail(const char* function, long nth, DriverResult result, bool for_ever = false);

// Number of calls of a driver function.
long fake_calls(const char* function);

// From then on launches run in the call, and nothing is counted, locked or checked: what is left to measure
// is not the fake's. Outside of captures, with nothing queued.
void fake_immediate(bool immediate);

// Number of contexts on the calling thread's stack.
std::size_t fake_contexts();

}  // namespace ringmeter::tests

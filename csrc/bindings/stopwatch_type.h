// ringmeter._core.Stopwatch: the time that passes on a device, as values of a history.
#pragma once

#include <Python.h>

#include "bindings/history_type.h"
#include "bindings/scalar.h"

namespace ringmeter::bindings {

// A tick is a launch, or part of one, that reads the device's clock where it stands in the stream; what it is
// for happens when it lands. Ticks of a stopwatch are all on one device, so they land in their order.
struct Stopwatch {
  PyObject_HEAD
  History* history;  // owned; gets the seconds of each lap
  int ordinal;       // of the device, from the first tick on
  // Of the receivers, under the device's lock.
  std::uint64_t base;     // clock at the newest start
  std::uint64_t elapsed;  // nanoseconds of this lap before that
  bool is_running;
};

// Makes the type. New reference, or null with an error set.
PyObject* make_stopwatch_type();

// The stopwatch, or null with an error set.
Stopwatch* as_stopwatch(PyObject* object);

// A tick that goes with the launch of `tensor`: the end of a lap, or the start when it is the first. To be
// launched with it, and then given to record_tick(). False when the stopwatch is on another device.
bool prepare_tick(const Stopwatch* stopwatch, const DeviceTensor& tensor, Value* out);
// Whether a lap was recorded. False without an error: it was the start; -1 with one set.
int record_tick(Stopwatch* stopwatch, Value* tick);

}  // namespace ringmeter::bindings

// Values on devices: launched, recorded as pending, waited for.
#pragma once

#include <Python.h>

#include <cstddef>
#include <new>

#include "bindings/history_type.h"
#include "bindings/scalar.h"

namespace ringmeter::bindings {

// Whether the driver can be used for that device; makes it ready the first time.
bool find_device(int ordinal);

// Enqueues the copies of those values that are on devices: one launch for each device, stream and 32 of them.
// Values whose stream captures a graph become kCapturing. False with an error set: nothing is going to be
// recorded.
bool launch(Value* const* values, std::size_t n, PyObject* key);

// A value for a history.
struct Recording {
  History* history;
  Value* value;
  Number count;
};

// Gives a value that was read, and launched if it is on a device, to its history. Not for kCapturing. False
// with an error set.
bool record_pending(const Recording& recording);
inline bool record(const Recording& recording) {
  if (recording.value->kind != Value::Kind::kNumber) return record_pending(recording);
  try {
    recording.history->series.push(recording.value->number, recording.count);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  return true;
}

// Captures kCapturing values: from now on each replay records one. False with an error set: nothing is
// captured.
bool capture(const Recording* recordings, std::size_t n);

// Lands what has arrived, without waiting.
void land_arrived();

// The same, if any graph records values: of those nobody knows until they have landed.
void land_replays();

// Waits until everything before `end` has landed. False with an error set.
bool wait_until_landed(History* history, Position end);

// Waits for the replays that were put into the current stream before, of graphs that record into the history.
// False with an error set. A device that cannot be asked is passed over: what has landed can be read.
bool wait_for_replays(History* history);

// device functions of the module, null-terminated.
extern PyMethodDef landing_functions[];

}  // namespace ringmeter::bindings
